"""The main loop of tests that are Python: each case by itself, and a line for each, as tests/run.py reads them."""
import tempfile


class Skip(Exception):
    """Raised by a case that can't run here; says why."""


def must(condition, what):
    if not condition:
        raise AssertionError(what)


def run_one(case, argument):
    """False if it failed."""
    try:
        case(argument)
        print('ok ' + case.__name__, flush=True)
    except Skip as why:
        print('skip %s: %s' % (case.__name__, why), flush=True)
    except Exception as error:  # whatever it was, the next case runs
        print('not ok %s: %s' % (
            case.__name__, str(error).replace('\n', ' / ')
            or type(error).__name__), flush=True)
        return False
    return True


def run_with(argument, *cases):
    """Each with the same argument, one after the other. The exit code."""
    return 0 if all([run_one(case, argument) for case in cases]) else 1


def run_in_folders(*cases):
    """Each with a folder of its own, which is gone afterwards. The exit code."""
    good = []
    for case in cases:
        with tempfile.TemporaryDirectory(prefix='baton-test-') as folder:
            good.append(run_one(case, folder))
    return 0 if all(good) else 1
