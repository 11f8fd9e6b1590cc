"""Which tests there are: found by their names, for the build (tests/SConscript) and for the runner (tests/run.py)."""
import os

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# What has threads, or is called by NNG's: its unit tests run under ThreadSanitizer too.
THREADED_FOLDERS = ('transport', 'node', 'client')
THREADED_TESTS = ('store_test',)


def _stems(folder, suffix):
    path = os.path.join(ROOT, folder)
    if not os.path.isdir(path):
        return []
    dot = suffix.index('.')
    return sorted(name[:dot - len(suffix)] for name in os.listdir(path)
                  if name.endswith(suffix))


def unit():
    return _stems('tests/unit', '_test.c')


def script():
    return _stems('tests/script', '_script.c')


def fuzz():
    return _stems('tests/fuzz', '_fuzz.c')


def cluster():
    return _stems('tests/cluster', '_test.py')


def examples():
    return _stems('client/examples', '.c')


def tsan():
    def threaded(name):
        source = name[:-len('_test')] + '.c'
        return (name in THREADED_TESTS
                or name.startswith(('transport_', 'node_'))
                or any(os.path.exists(os.path.join(ROOT, folder, source))
                       for folder in THREADED_FOLDERS))
    return [name for name in unit() if threaded(name)]


def script_files(name):
    """The cases of the runner raft_script lie in tests/script/raft/."""
    folder = 'tests/script/' + name[:-len('_script')]
    return [folder + '/' + stem + '.txt' for stem in _stems(folder, '.txt')]
