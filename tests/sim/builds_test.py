"""A seed comes to the same trace, whichever compiler built the simulator, and however well it optimized: nothing depends on memory that nobody
wrote, on the order in which arguments are evaluated, or on what lies between the fields of a struct. ./dev test compares the released program
(gcc) with clang's, not optimized; with --all (./dev sim --builds), two more."""
import json
import os
import subprocess
import sys

PATIENCE = 120.0
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, 'tests'))

from cases import must, run_with  # noqa: E402

SEEDS = range(1, 11)
RELEASE = 'build/bin/baton-sim'
OTHERS = ['build/clang-O0/sim/baton-sim']
ALL = OTHERS + ['build/gcc-O0/sim/baton-sim', 'build/clang-O2/sim/baton-sim']


def run(program, seed):
    """What it came to, and how."""
    made = subprocess.run(
        [os.path.join(ROOT, program), 'replay', str(seed), '--json'],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False)
    must(made.returncode == 0, '%s, seed %d: exit code %d: %s' % (
        program, seed, made.returncode, made.stderr))
    return json.loads(made.stdout)


def same_in_all_builds(programs):
    for seed in SEEDS:
        first = run(RELEASE, seed)
        for program in programs:
            other = run(program, seed)
            for key in ('trace', 'verdict', 'commits', 'coverage'):
                must(other[key] == first[key], 'seed %d: %s of %s is %s, of %s '
                     'it is %s' % (seed, key, RELEASE, first[key], program,
                                   other[key]))


if __name__ == '__main__':
    sys.exit(run_with(ALL if '--all' in sys.argv else OTHERS,
                      same_in_all_builds))
