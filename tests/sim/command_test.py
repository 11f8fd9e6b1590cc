"""baton-sim as a user meets it: what it says of mistakes in a scenario and in its own command line, exit codes, and that what it says again
to run is right."""
import json
import os
import signal
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, 'tests'))

from cases import must, run_in_folders  # noqa: E402

PROGRAM = os.path.join(ROOT, 'build', 'bin', 'baton-sim')
# Keeps the nodes' data in a folder of its own while it runs.
REAL_STORE = os.path.join(ROOT, 'build', 'release', 'sim', 'baton-sim-lmdb')
CALM = 'nodes 3\nclients 2 rate 20\nsettle off\nlast 5s\n'


def sim(*arguments, folder=None):
    done = subprocess.run([PROGRAM] + list(arguments), cwd=folder, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=120, universal_newlines=True)
    return done.returncode, done.stdout, done.stderr


def equal(what, seen, wanted):
    if seen != wanted:
        raise AssertionError('%s: %r, not %r' % (what, seen, wanted))


def scenario(folder, text):
    path = os.path.join(folder, 'x.scn')
    with open(path, 'w', encoding='utf-8') as file:
        file.write(text)
    return './x.scn'


def mistakes(folder):
    """file:line:column, what was expected, and what may have been meant."""
    for text, said in [
            ('nodes 3\nat 5s crsh n1\n',
             '2:7: expected a verb, found "crsh": did you mean "crash"?'),
            ('nodes 12\n', '1:7: expected a number, 1 to 9, found "12"'),
            ('at 5 crash n1\n',
             '1:4: expected a time such as 250ms, 3s or 1.5m, found "5"'),
            ('nodes 3\nat 1s crash n4\n',
             '2:13: expected who is meant, found "n4": n1 to n3, c0 to c3, '
             'leader, follower[0], random, nodes, clients, or a name that an '
             '"as" gave'),
            ('at 1s cut n1 - n2\n', '1:14: expected -> or <->, found "-"'),
            ('at 1s split { n1 n2 }\n',
             '1:21: expected two sides with a "|" between them'),
            ('at 1s expect leader in 3s\n',
             '1:21: expected "within", found "in"'),
            ('at 1s restart n1 for 2s\n',
             '1:18: "restart" doesn\'t last, so it can\'t be for a time'),
            ('at end crash n1\n',
             '1:8: at the end, only "expect covered", "expect overlap" and '
             '"expect unavailable" can be asked'),
            ('at end expect covered electons >= 1\n',
             '1:23: expected a counter, found "electons": did you mean '
             '"elections"?'),
            ('set elction 300ms\n',
             '1:5: expected a setting, found "elction": did you mean '
             '"election"?'),
            ('at 1s crash n1\nnodes 5\n',
             '2:1: "nodes" must come before the first step'),
            ('seeds 5..1\n', '1:7: expected a seed, or A..B, found "5..1"'),
            ('at 1s crash n1 for 2s as it\n',
             '1:23: "as" stands before "for"'),
            ('last 5s\nat 4s expect leader within 3s\n',
             '2:30: a step begins, ends or is to be met behind "last"'),
            ('at 1s crash n1 now\n',
             '1:16: expected the end of the line, found "now"'),
    ]:
        code, _, error = sim('run', scenario(folder, text), folder=folder)
        equal(text, (code, error), (4, 'baton-sim: ./x.scn:%s\n' % said))


def wrong_use(folder):
    for arguments, said in [
            ((), 'there is no verb ""'),
            (('swrm',), 'there is no verb "swrm"'),
            (('swarm',), 'swarm wants --seeds or --seconds, or it never ends'),
            (('swarm', '--seeds', '9..1'),
             '--seeds wants A..B, two numbers, the smaller one first, not '
             '"9..1"'),
            (('swarm', '--jobs', '0'), '--jobs wants a number, 1 to 64, not '
             '"0"'),
            (('replay',), 'replay wants a seed, a number'),
            (('replay', '1', '--covered'), 'replay doesn\'t take "--covered"'),
            (('run',), 'run wants a scenario: a file, or a name that baton-sim '
             'list has'),
    ]:
        code, _, error = sim(*arguments, folder=folder)
        equal(arguments, (code, error.splitlines()[0]),
              (4, 'baton-sim: ' + said))
    code, _, error = sim('run', 'chain-3-cloudflar')
    equal('a name', (code, error),
          (4, 'baton-sim: there is no scenario "chain-3-cloudflar": did you '
              'mean "chain-3-cloudflare"?; baton-sim list names them, and a '
              'path works, too\n'))
    code, _, error = sim('run', './not-there.scn', folder=folder)
    equal('a file', (code, error),
          (4, 'baton-sim: ./not-there.scn: No such file or directory\n'))


def verdicts(folder):
    """0 passes, 1 unsafe, 2 not live, 3 what it's for didn't happen."""
    for text, wanted in [
            ('at 3s expect leader within 1s\n', (0, 'pass')),
            ('at 1s crash nodes\nat 2s expect leader within 1s\n',
             (2, 'not live')),
            ('at end expect overlap <= 0s\nat 1s pause leader for 1s\n',
             (0, 'pass')),
            ('at end expect covered kills >= 1\n', (3, 'vacuous')),
            ('at 2s crash leader for 1s\nat end expect covered kills >= 1\n',
             (0, 'pass')),
    ]:
        code, out, _ = sim('run', scenario(folder, CALM + text), '--json',
                           folder=folder)
        equal(text, (code, json.loads(out)['verdict']), wanted)


def again(folder):
    """The last line of a summary is a command that comes to the same."""
    path = scenario(folder, CALM + 'at 2s crash leader for 1s\n')
    _, first, _ = sim('run', path, '--seed', '7', folder=folder)
    last = first.splitlines()[-1]
    equal('the last line', last, 'again: baton-sim run ./x.scn --seed 7')
    equal('once more', sim(*last.split()[2:], folder=folder)[1], first)
    _, first, _ = sim('replay', '17')
    last = first.splitlines()[-1]
    equal('the last line', last, 'again: baton-sim replay 17')
    equal('once more', sim(*last.split()[2:])[1], first)


def names(folder):
    """What was called a name stays it, whoever leads by then."""
    code, out, _ = sim('run', scenario(folder, CALM + (
        'at 2s crash leader as old\n'
        'at 3s expect leads-not old within 1s\n'
        'at 3s expect down old within 1s\n'
        'at 4s restart old\n'
        'at 4s expect up old within 1s\n'
        'at end expect covered leader_changes >= 2\n')), '--json',
                       folder=folder)
    equal('verdict', (code, json.loads(out)['verdict']), (0, 'pass'))


def nothing_to_shrink(folder):
    code, out, _ = sim('shrink', '5', folder=folder)
    equal('shrink', (code, out),
          (0, "seed 5 passes: there's nothing to make smaller\n"))
    equal('files', os.listdir(folder), [])


def folders_of(pid):
    """Those that the process has open."""
    fds = '/proc/%d/fd' % pid
    paths = [os.readlink(os.path.join(fds, fd)) for fd in os.listdir(fds)]
    return [path for path in paths if os.path.isdir(path)]


def until_it_tells(process):
    """Runs have ended, and others are under way."""
    line = process.stderr.readline()
    must('seeds, 0 failed' in line, line)


def told_to_end(_folder):
    """A swarm that is told to end says what came of it until then, and leaves nothing."""
    for program in (PROGRAM, REAL_STORE):
        with subprocess.Popen([program, 'swarm', '--seeds', '1..1000000'],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True) as process:
            until_it_tells(process)
            folders = folders_of(process.pid)
            process.send_signal(signal.SIGTERM)
            said, _ = process.communicate(timeout=60)
        equal('exit code', process.returncode, 128 + signal.SIGTERM)
        must(', 0 failed' in said and 'stopped by signal 15' in said, said)
        equal('folders', len(folders), 1 if program == REAL_STORE else 0)
        must(not any(os.path.exists(path) for path in folders), folders)


def killed(_folder):
    """What one leaves that can't say anything any more, the next one removes."""
    with subprocess.Popen([REAL_STORE, 'swarm', '--seeds', '1..1000000'],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True) as process:
        until_it_tells(process)
        folders = folders_of(process.pid)
        process.kill()
        # Its runs have its output, too, and die with it.
        process.communicate(timeout=60)
    equal('folders', len(folders), 1)
    subprocess.run([REAL_STORE, 'help'], stdout=subprocess.DEVNULL, check=True,
                   timeout=60)
    equal('folders', [os.path.exists(path) for path in folders], [False])


if __name__ == '__main__':
    sys.exit(run_in_folders(mistakes, wrong_use, verdicts, again, names,
                            nothing_to_shrink, told_to_end, killed))
