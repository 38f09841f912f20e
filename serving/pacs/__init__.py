"""DICOM from and to an archive: images arrive by C-STORE or STOW-RS, reports go back."""
