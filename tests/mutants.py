#!/usr/bin/env python3
"""Plants known bugs, one after the other, and looks whether the simulator finds them: a test of the oracles. A line a mutant.

    tests/mutants.py [--jobs J] [--seeds N] [NAME...]

NAME is a patch in tests/mutants/ or how its name begins (05, o2); none: all of them. --seeds N is the most seeds that any of them gets;
each says itself how many it may take. --jobs J runs so many at once.

Every patch begins with what it is: fields, an empty line, what else there is to say.

    Mutant: its name               Plants: the bug, in a sentence
    Killed-by: invariants, any of which must be the first that fails; "ASSERT text": an assertion whose condition has that text
    Seeds: so many may be needed   Core: yes or no
    Waits-for: what the simulator can't do yet, without which nothing shows
    Noticed-with: a mutant of the product that an oracle which is disabled here must no longer kill, at the seed at which it died
    Noticed-by-counter: what a disabled injector of faults leaves at 0

The product and the simulator are built in a copy below build/mutants/, which stays, so that the next time is quicker. Exit 1: one
survived, was killed by something else, doesn't apply or doesn't build."""
import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PATCHES = os.path.join(ROOT, 'tests/mutants')
WORK = os.path.join(ROOT, 'build/mutants')
TREE = os.path.join(WORK, 'tree')
TARGET = 'build/release/sim/baton-sim'
# A run by itself takes a second or less: one that doesn't end is a finding, too.
SLICE_SECONDS = 900
SLICE_FIRST = 8
SLICE_MAX = 32
# Seeds that the product itself must pass, and in which counters are counted.
SOUND_SEEDS = 100
# A mutant that waits for the simulator is tried all the same: perhaps it doesn't any more.
WAITING_SEEDS = 50

FAILED = re.compile(r'^seed (\d+) (unsafe|not live): (\S+): (.*)$', re.M)


class Broken(Exception):
    """Why a mutant can't even be run."""


class Mutant:
    def __init__(self, path):
        self.path = path
        self.name = os.path.basename(path)[:-len('.patch')]
        fields = {}
        with open(path, encoding='utf-8') as file:
            for line in file:
                found = re.match(r'([A-Z][A-Za-z-]+): (.*)$', line)
                if not found:
                    break
                fields[found.group(1)] = found.group(2)
        self.what = fields.get('Plants', '')
        self.killers = [name.strip() for name
                        in fields.get('Killed-by', '').split(',') if name]
        self.core = fields.get('Core') == 'yes'
        self.seeds = int(fields.get('Seeds', '0'))
        self.waits = fields.get('Waits-for')
        self.noticed_with = fields.get('Noticed-with')
        self.counter = fields.get('Noticed-by-counter')
        if fields.get('Mutant') != self.name or not self.what:
            raise Broken('%s: "Mutant:" isn\'t its name, or "Plants:" is '
                         'missing' % path)
        if not (self.killers or self.noticed_with or self.counter):
            raise Broken('%s: nothing says how it is noticed' % path)

    def expects(self):
        if self.noticed_with:
            return '%s lives' % self.noticed_with.split('-')[0]
        if self.counter:
            return '%s = 0' % self.counter
        return ' '.join(killer.split()[0] for killer in self.killers)

    def is_killer(self, death):
        """`death` is (invariant, text), of a seed that failed."""
        for killer in self.killers:
            name, _, text = killer.partition(' ')
            if name == death[0] and text in death[1]:
                return True
        return False


def all_mutants():
    return [Mutant(os.path.join(PATCHES, name))
            for name in sorted(os.listdir(PATCHES))
            if name.endswith('.patch')]


def check():
    """What is wrong with the patches, as text: each must apply to the sources as they are, without fuzz. For tests/run.py."""
    wrong = ''
    names = set()
    for name in sorted(os.listdir(PATCHES)):
        try:
            mutant = Mutant(os.path.join(PATCHES, name))
            names.add(mutant.name)
            apply(mutant, ROOT, ['--dry-run'])
            if mutant.noticed_with and mutant.noticed_with not in names:
                raise Broken('there is no %s' % mutant.noticed_with)
        except Broken as why:
            wrong += '%s: %s\n' % (name, why)
    return wrong


# --- the copy ---------------------------------------------------------------------------------------------------------


def same(path, data):
    try:
        with open(path, 'rb') as file:
            return file.read() == data
    except OSError:
        return False


def copy_sources():
    """Makes the copy's sources what ours are, whatever was planted there; what it has built stays."""
    listed = subprocess.run(
        ['git', 'ls-files', '-z', '--cached', '--others',
         '--exclude-standard'], cwd=ROOT, check=True,
        stdout=subprocess.PIPE).stdout.decode().split('\0')
    wanted = {name for name in listed
              if name and os.path.isfile(os.path.join(ROOT, name))}
    for folder, folders, files in os.walk(TREE):
        if folder == TREE:
            folders[:] = [name for name in folders if name != 'build']
        for name in files:
            path = os.path.join(folder, name)
            if os.path.relpath(path, TREE) not in wanted:
                os.remove(path)
    for name in wanted:
        with open(os.path.join(ROOT, name), 'rb') as file:
            data = file.read()
        path = os.path.join(TREE, name)
        if not same(path, data):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, 'wb') as file:
                file.write(data)
            shutil.copymode(os.path.join(ROOT, name), path)


def apply(mutant, tree, more=()):
    done = subprocess.run(
        ['patch', '-p1', '--batch', '--forward', '--fuzz=0', '--silent',
         '--reject-file=-'] + list(more) + ['--input', mutant.path], cwd=tree,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise Broken('does not apply: '
                     + done.stdout.decode('utf-8', 'replace').strip())


def build(name, mutants, jobs):
    """A simulator with these bugs in it; its path."""
    copy_sources()
    for mutant in mutants:
        apply(mutant, TREE)
    # A planted bug needn't please the compiler.
    env = dict(os.environ, CFLAGS='-Wno-error')
    made = subprocess.run(['scons', '-Q', '-j', str(jobs), TARGET], cwd=TREE,
                          env=env, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if made.returncode != 0:
        said = made.stdout.decode('utf-8', 'replace').splitlines()
        raise Broken('does not build:\n' + '\n'.join(
            line for line in said if not line.startswith('  ')))
    program = os.path.join(WORK, name)
    shutil.copy2(os.path.join(TREE, TARGET), program)
    return program


# --- runs ----------------------------------------------------------------------------------------------------------------


def output_of(arguments):
    """What it prints; it may fail. It runs in a group of its own, so that nothing of it stays."""
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL,
                               start_new_session=True)
    try:
        output, _ = process.communicate(timeout=SLICE_SECONDS)
    except subprocess.TimeoutExpired:
        raise Broken('did not end: ' + ' '.join(arguments[1:]))
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
    return output.decode('utf-8', 'replace')


def replay(program, seed):
    """(verdict, invariant, text) of one seed."""
    said = json.loads(output_of([program, 'replay', str(seed), '--json']))
    return said['verdict'], said['invariant'], said['text']


def first_death(program, seeds, jobs):
    """(seed, invariant, text) of the first seed that fails; None: all passed."""
    first = 1
    size = SLICE_FIRST
    while first <= seeds:
        last = min(first + size - 1, seeds)
        found = FAILED.findall(output_of(
            [program, 'swarm', '--seeds', '%d..%d' % (first, last), '--jobs',
             str(jobs)]))
        if found:
            seed = min(int(one[0]) for one in found)
            verdict, invariant, text = replay(program, seed)
            if verdict == 'pass':
                raise Broken('seed %d failed in a swarm, and passes by itself'
                             % seed)
            return seed, invariant, text
        first = last + 1
        size = min(2 * size, SLICE_MAX)
    return None


def counters(program, jobs):
    """What a swarm of so many seeds came to."""
    return json.loads(output_of(
        [program, 'swarm', '--seeds', '1..%d' % SOUND_SEEDS, '--jobs',
         str(jobs), '--json']))


# --- verdicts --------------------------------------------------------------------------------------------------------------


class Judge:
    def __init__(self, mutants, options):
        self.mutants = {mutant.name: mutant for mutant in mutants}
        self.options = options
        self.deaths = {}
        self.sound = None

    def bound(self, mutant):
        return min(mutant.seeds, self.options.seeds or mutant.seeds)

    def death(self, mutant):
        """Of a mutant of the product; looked for once."""
        if mutant.name not in self.deaths:
            program = build(mutant.name, [mutant], self.options.jobs)
            seeds = WAITING_SEEDS if mutant.waits else self.bound(mutant)
            self.deaths[mutant.name] = first_death(program, seeds,
                                                   self.options.jobs)
            os.remove(program)
        return self.deaths[mutant.name]

    def judge(self, mutant):
        """(killed by, seeds, verdict); the verdict begins with ok, or with waits."""
        if mutant.noticed_with:
            return self.judge_check(mutant)
        if mutant.counter:
            return self.judge_injector(mutant)
        death = self.death(mutant)
        if death is None:
            if mutant.waits:
                return '-', '-', 'waits for ' + mutant.waits
            return '-', self.bound(mutant), 'SURVIVED'
        seed, invariant, text = death
        if mutant.is_killer((invariant, text)):
            return invariant, seed, 'ok'
        return invariant, seed, 'NOT BY WHAT IS NAMED: %s' % text

    def judge_check(self, mutant):
        """An oracle that doesn't look: what it killed lives, so that this very table shows it."""
        victim = self.mutants[mutant.noticed_with]
        death = self.death(victim)
        if death is None or not victim.is_killer(death[1:]):
            return '-', '-', '%s DOES NOT DIE ANYWAY' % victim.name
        program = build(mutant.name, [victim, mutant], self.options.jobs)
        verdict, invariant, _text = replay(program, death[0])
        os.remove(program)
        if verdict != 'pass' and invariant == death[1]:
            return invariant, death[0], 'KILLED ALL THE SAME'
        return ('not ' + death[1]), death[0], 'ok'

    def judge_injector(self, mutant):
        """Faults that don't happen: what they cause isn't counted."""
        if mutant.counter not in self.sound['coverage']:
            os.remove(build(mutant.name, [mutant], self.options.jobs))
            return '-', '-', ('waits for ' + mutant.waits if mutant.waits else
                              'THERE IS NO SUCH COUNTER')
        program = build(mutant.name, [mutant], self.options.jobs)
        seen = counters(program, self.options.jobs)['coverage'][mutant.counter]
        os.remove(program)
        before = self.sound['coverage'][mutant.counter]
        if before == 0:
            return '-', SOUND_SEEDS, 'IT IS 0 ANYWAY'
        return ('%d -> %d' % (before, seen), SOUND_SEEDS,
                'ok' if seen == 0 else 'NOT NOTICED')


ROW = '%-27s  %-58s  %-10s  %5s  %6s  %-12s  %s'


def row(mutant, killed, seeds, seconds, verdict):
    what = mutant.what if len(mutant.what) <= 58 else mutant.what[:55] + '...'
    print(ROW % (mutant.name + ('*' if mutant.core else ''), what, killed,
                 seeds, '%.1f' % seconds, mutant.expects(), verdict),
          flush=True)


def arguments():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('--jobs', type=int, default=os.cpu_count() or 1)
    parser.add_argument('--seeds', type=int, default=0)
    parser.add_argument('names', nargs='*')
    options = parser.parse_args()
    if options.jobs < 1 or options.seeds < 0:
        parser.error('--jobs and --seeds want a number from 1')
    return options


def chosen(mutants, names):
    for name in names:
        if not any(mutant.name.startswith(name) for mutant in mutants):
            raise Broken('no mutant is called %s' % name)
    return [mutant for mutant in mutants
            if not names or any(mutant.name.startswith(name)
                                for name in names)]


def run_sound(judge):
    program = build('sound', [], judge.options.jobs)
    judge.sound = counters(program, judge.options.jobs)
    os.remove(program)
    if judge.sound['verdict'] != 'pass':
        raise Broken('the product as it is fails in its first %d seeds: '
                     'baton-sim swarm --seeds 1..%d tells where'
                     % (SOUND_SEEDS, SOUND_SEEDS))
    print('The product as it is passes %d seeds. Core mutants have a *.'
          % SOUND_SEEDS)
    never = [name for name, n in judge.sound['coverage'].items() if n == 0]
    if never:
        print('What never happened in them: ' + ', '.join(never))
    print()


def main():
    options = arguments()
    bad = 0
    try:
        everything = all_mutants()
        mutants = chosen(everything, options.names)
        judge = Judge(everything, options)
        os.makedirs(TREE, exist_ok=True)
        run_sound(judge)
    except Broken as why:
        print(why)
        return 1
    print(ROW % ('mutant', 'what', 'killed by', 'seeds', 's', 'expected',
                 'verdict'))
    waiting = 0
    for mutant in mutants:
        began = time.monotonic()
        try:
            killed, seeds, verdict = judge.judge(mutant)
        except Broken as why:
            killed, seeds, verdict = '-', '-', 'BROKEN: %s' % why
        row(mutant, killed, seeds, time.monotonic() - began, verdict)
        waiting += verdict.startswith('waits')
        bad += verdict != 'ok' and not verdict.startswith('waits')
    print('\n%d mutants: %d as expected, %d wait for the simulator, %d not'
          % (len(mutants), len(mutants) - bad - waiting, waiting, bad))
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
