"""What baton-sim draw promises (BATON_BIN): a page with all that happened in it, of the same run that replay makes."""
import json
import os
import re
import subprocess
import sys

PATIENCE = 120.0
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, 'tests'))

from cases import must, run_in_folders  # noqa: E402

SIM = os.path.join(ROOT, 'build', 'bin', 'baton-sim')
# Crashes, pauses, partitions, disks that fail, overlaps of beliefs and fenced writes.
SEED = 28
# No faults.
CALM = 11
RUN = re.compile(r'<script id="run" type="application/json">(.*?)</script>', re.DOTALL)


def sim(*arguments):
    """(exit code, output, errors)."""
    made = subprocess.run([SIM] + [str(a) for a in arguments],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=PATIENCE,
                          check=False)
    return made.returncode, made.stdout, made.stderr


def drawn(folder, seed):
    """(the page, what's in it, what was printed)."""
    path = os.path.join(folder, '%d.html' % seed)
    code, output, errors = sim('draw', seed, '-o', path)
    must(code == 0, 'exit code %d: %s' % (code, errors))
    with open(path, encoding='utf-8') as file:
        page = file.read()
    found = RUN.findall(page)
    must(len(found) == 1, '%d runs in the page' % len(found))
    return page, json.loads(found[0]), output


def by_kind(run):
    counts = {name: 0 for name in run['kinds']}
    for event in run['events']:
        counts[run['kinds'][event[1]]] += 1
    return counts


def same_run(folder):
    """Drawing changes nothing: hash, verdict and all figures are replay's."""
    for seed in (SEED, CALM):
        _, run, output = drawn(folder, seed)
        code, replayed, _ = sim('replay', seed)
        must(code == 0 and output == replayed, 'not as replay: ' + output)
        must('trace ' + run['trace'] in replayed, run['trace'])
        _, text, _ = sim('replay', seed, '--json')
        other = json.loads(text)
        for key in ('verdict', 'invariant', 'text', 'trace', 'commits',
                    'overlap_ms', 'coverage'):
            must(run[key] == other[key], '%s: %r' % (key, run[key]))
        must(run['end_us'] // 1000 == other['simulated_ms'], 'its end')


def all_kinds(folder):
    _, run, _ = drawn(folder, SEED)
    counts = by_kind(run)
    coverage = run['coverage']
    must(counts['node_down'] >= max(1, coverage['kills']), 'crashes')
    must(counts['granted'] == coverage['grants'], 'grants')
    must(counts['write'] == coverage['writes_accepted']
         + coverage['writes_fenced'], 'writes')
    must([run['phases'][e[3] if len(e) > 3 else 0] for e in run['events']
          if run['kinds'][e[1]] == 'phase'] == run['phases'], 'phases')
    must(len(run['lines']) > 100, 'log lines')
    must(not any(run['dropped'].values()), 'all was recorded')
    # A seed leaves half of the faults out: others have what this one hasn't.
    missing = {name for name, n in counts.items() if n == 0}
    for seed in range(1, 13):
        if missing:
            _, other, _ = drawn(folder, seed)
            missing -= {name for name, n in by_kind(other).items() if n > 0}
    must(not missing, 'in none of the seeds: %s' % missing)


def messages(folder):
    """Each has a sender, a receiver and a fate; times don't go back."""
    _, run, _ = drawn(folder, SEED)
    ids = range(1, run['options']['nodes'] + 1)
    fates = set()
    for name in ('messages', 'heartbeats'):
        flat = run[name]
        must(len(flat) > 1000 and len(flat) % 10 == 0, name)
        for i in range(0, len(flat), 10):
            delay, sender, to, _, fate, flags, took = flat[i:i + 7]
            must(delay >= 0 and took >= 0, 'time at %d' % i)
            must(sender in ids and to in ids and sender != to, 'link at %d' % i)
            fates.add((run['fates'][fate], bool(flags & 1)))
    for wanted in (('arrived', False), ('arrived', True), ('nobody', False)):
        must(wanted in fates, '%r: %r' % (wanted, fates))


def alone(folder):
    """The page asks for nothing, and what was said can't leave its script."""
    page, run, _ = drawn(folder, CALM)
    must(run['options']['calm'], 'a calm run')
    must(by_kind(run)['node_down'] == 0, 'nobody crashes')
    for word in ('http://', 'https://', ' src=', '<link', 'import(', 'fetch('):
        must(word not in page, word)
    must('<' not in RUN.findall(page)[0], 'a tag in the data')


def wrong_use(folder):
    path = os.path.join(folder, 'x.html')
    for arguments, words in (
            (['draw'], 'draw wants a seed, or a scenario'),
            (['draw', '1'], 'draw wants -o FILE'),
            (['draw', '1', '-o'], '-o wants a file to write'),
            (['draw', '1', '--out', path], 'draw doesn\'t take "--out"'),
            (['draw', '1', '-o', path, 'more'],
             'draw doesn\'t take "more"')):
        code, _, errors = sim(*arguments)
        must(code == 4 and words in errors and 'usage:' in errors,
             '%r: exit code %d: %s' % (arguments, code, errors))
    must(not os.path.exists(path), 'nothing was written')
    nowhere = os.path.join(folder, 'nowhere', 'x.html')
    code, output, errors = sim('draw', '1', '-o', nowhere)
    must(code == 4 and output == '' and errors == 'baton-sim: %s can\'t be '
         'written: No such file or directory\n' % nowhere, errors)
    code, _, errors = sim('draw', '5', '-o', '/dev/full')
    must(code == 4 and "/dev/full can't be written: No space left" in errors,
         'exit code %d: %s' % (code, errors))


if __name__ == '__main__':
    sys.exit(run_in_folders(same_run, all_kinds, messages, alone, wrong_use))
