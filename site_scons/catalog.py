"""Which folders and tests there are, for the build (SConstruct) and for the runner (tests/run.py). Tests are found by their
names."""
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# The folders, and which others each may use: in the sources' includes (tests/tidy.py looks) as in what is linked. Each
# stands after those that it uses. A folder joins the build when it has an SConscript.
USES = {
    'proto': [],
    'raft': ['proto'],
    'session': ['raft', 'proto'],
    'transport': ['proto'],
    'node': ['session', 'raft', 'transport', 'proto'],
    'client': ['transport', 'proto'],
    'relay': ['client', 'transport', 'proto'],
    'sim': ['client', 'node', 'session', 'raft', 'transport', 'proto'],
    'tests': ['sim', 'relay', 'client', 'node', 'transport', 'session',
              'raft', 'proto'],
}

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


def bench():
    return _stems('tests/bench', '_bench.c')


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


def _includes(path):
    with open(os.path.join(ROOT, path), encoding='utf-8') as file:
        return re.findall(r'#\s*include\s+"([^"]+)"', file.read())


def needed_by(path):
    """What a test's source links by its includes: (folders, with those that they use; sources of tests' own helpers). Who
    uses tests/lab/ gets its transport; the simulator's store comes before raft's objects, which no name is left to draw in."""
    folders, helpers = set(), set()
    waiting, seen = [path], set()
    while waiting:
        current = waiting.pop()
        seen.add(current)
        if current.endswith('.c') and current != path:
            helpers.add(current)
        for name in _includes(current):
            folder = name.split('/')[0]
            if folder == 'tests':
                waiting += [near for near in (name, name[:-2] + '.c')
                            if os.path.exists(os.path.join(ROOT, near))
                            and near not in seen]
            elif folder == 'baton':
                # Generated headers are called baton/v1/x.pb-c.h.
                folders.add('proto')
            elif folder in USES:
                folders.update([folder] + USES[folder])
    if any(name.startswith('tests/lab/') for name in helpers):
        folders.discard('transport')
    return folders, sorted(helpers)
