"""Runs all checks on one model in a separate process.

Call: `python -m components.serving_check.session_probe FOLDER PARENT`.

FOLDER has `model/`, the trainer's samples and `parameters.json`. The probe writes the name of the
current check to `stage`, so that its parent knows where it crashed, and the result to
`result.json`. PARENT is the id of the process that started it; when that ends, the probe ends too.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

from components.serving_check import samples
from components.serving_check.parameters import ServingCheckParameters

_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
MODEL, PARAMETERS, STAGE, RESULT = 'model', 'parameters.json', 'stage', 'result.json'


def main(folder: str, parent: int) -> None:
    """Checks the model in `folder`; the result has all failures of the model, none is raised.

    Args:
      folder: see the module.
      parent: id of the parent process.
    """
    _end_with(parent)
    with open(os.path.join(folder, PARAMETERS), encoding='utf-8') as stream:
        parameters = ServingCheckParameters.model_validate_json(stream.read())
    answers = samples.read(folder)
    import tensorflow as tf

    from components.serving_check import checks, sample_answers
    from components.serving_check.session_model import SessionModel

    model_dir = os.path.join(folder, MODEL)
    result: dict = {
        'tensorflow': tf.__version__,
        'samples': len(answers.items),
        'checks': [],
        'latency': {},
    }
    _stage(folder, 'loading the model in a session')
    try:
        model = SessionModel(model_dir)
    except (tf.errors.OpError, OSError, RuntimeError, ValueError) as error:
        _note(
            result,
            'loads in a session',
            [f'{type(error).__name__}: {str(error).strip().splitlines()[0]}'],
        )
        _write(folder, result)
        return
    _note(result, 'loads in a session', [])
    case = checks.Case(model, model_dir, answers, parameters)
    result['not_assessed'] = {}
    for check in checks.ALL:
        _stage(folder, check.name)
        reasons = checks.run(check, case)
        _note(result, check.name, reasons)
        if reasons and check.vital:
            break
    else:
        result['not_assessed'] = case.not_assessed
    if all(check['passed'] for check in result['checks']):
        _stage(folder, 'measuring latency')
        result['latency'] = checks.latency(case)
        sample_answers.write(model, model_dir)
    _write(folder, result)


def _end_with(parent: int) -> None:
    """Makes the kernel kill this process when its parent ends, as nothing else needs the result."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(f'process {parent}, which started this one, has ended')


def _note(result: dict, name: str, reasons: list[str]) -> None:
    result['checks'].append({'name': name, 'passed': not reasons, 'reasons': reasons})


def _stage(folder: str, text: str) -> None:
    with open(os.path.join(folder, STAGE), 'w', encoding='utf-8') as stream:
        stream.write(text)


def _write(folder: str, result: dict) -> None:
    with open(os.path.join(folder, RESULT), 'w', encoding='utf-8') as stream:
        json.dump(result, stream)


if __name__ == '__main__':
    main(sys.argv[1], int(sys.argv[2]))
