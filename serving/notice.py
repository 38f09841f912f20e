"""What every answer, page and report says about its use."""

RESEARCH_USE = 'Research use only, not for clinical use'
