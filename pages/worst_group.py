"""Which group of test images has the lowest sensitivity, in words and with its images."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator

from components.evaluator import registry
from components.evaluator.groups import Group
from components.evaluator.results import NO_NUMBERS, Slice
from pages import group_plots, names


def lines(overall: Slice) -> Iterator[str]:
    """The compared group with the lowest sensitivity, the largest gap, and the groups left out.

    Args:
      overall: all test images.
    """
    features = overall.candidate_groups()
    if not overall.gives_numbers():
        yield f'Not known: {NO_NUMBERS}.'
        return
    if not features:
        yield 'The evaluation has no groups by sex, age or view.'
        return
    if worst := _lowest_sensitivity(overall):
        yield f'{_group(*worst)}, against {_sensitivity(overall)} on all test images.'
    else:
        least = next(iter(features.values())).min_positives
        yield f'No group has {least} positive images, which a comparison needs.'
    largest = _largest_gap(overall)
    if largest:
        groups_text = group_plots.gap_text(overall, largest) or 'its groups are not on record'
        yield f'{registry.title(largest)}: {overall.value(largest):.3f}, {groups_text}.'
    for feature, groups in features.items():
        # The line above already names those that the largest gap leaves out.
        is_named = largest and registry.METRICS[largest].group == feature
        if not is_named and (text := groups.left_out_text()):
            yield f'Not compared, by {names.group(feature)}: {text}.'


def missed_images(overall: Slice) -> str:
    """The address of the images in the gallery that the model missed in that group.

    It is '' if no group is compared, or if no image was missed.

    Args:
      overall: all test images.
    """
    worst = _lowest_sensitivity(overall)
    if worst is None or not worst[1].missed:
        return ''
    feature, group = worst
    return f'gallery.html?{urllib.parse.urlencode({feature: group.name})}#missed'


def _lowest_sensitivity(overall: Slice) -> tuple[str, Group] | None:
    """(feature, group) of the compared group with the lowest sensitivity; None without any."""
    compared = [
        (group.sensitivity, feature, group)
        for feature, groups in overall.candidate_groups().items()
        for group in groups.groups
        if group.compared and group.sensitivity is not None
    ]
    if not compared:
        return None
    _, feature, worst = min(compared, key=lambda item: (item[0], item[1], item[2].name))
    return feature, worst


def _group(feature: str, group: Group) -> str:
    title = f'{names.group(feature)} {names.value(feature, group.name)}'
    return (
        f'The group with the lowest sensitivity is {title}, {group.figure.text()}: '
        f'{group.missed:,} of {group.positives:,} positive images missed'
    )


def _sensitivity(overall: Slice) -> str:
    return overall.figure('sensitivity').value_text()


def _largest_gap(overall: Slice) -> str:
    """The name of the gap with the largest value; '' if none is defined."""
    gaps = [
        (value, name)
        for name in registry.of_kind('gap')
        if (value := overall.value(name)) is not None
    ]
    return max(gaps)[1] if gaps else ''
