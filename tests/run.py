#!/usr/bin/env python3
"""Builds what the tests need and runs them: a line a test, what the failing ones said, and at the end "N passed, N failed".

    tests/run.py [--no-build] [--rewrite] [--list] [--debug] [NAME...]

NAME is a test (raft_test, tidy), a kind (unit, tsan, script, fuzz, install, check, sim, lmdb, cluster), kind/test, or a
pattern of those with * in it. --rewrite takes what the script tests print as what they expect. --debug gives the cluster tests the
debug programs instead of the release ones.

Each number counts single cases: a function in a unit test, a file of a script test, a line of a cluster test."""
import argparse
import concurrent.futures
import fnmatch
import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import checks
import mutants
from checks import catalog

ROOT = catalog.ROOT
WORKERS = max(2, os.cpu_count() or 2)

SANITIZERS = {
    'ASAN_OPTIONS': 'detect_stack_use_after_return=1:strict_string_checks=1',
    'UBSAN_OPTIONS': 'print_stacktrace=1',
    'TSAN_OPTIONS': 'second_deadlock_stack=1',
}
# What libraries of Debian's do to themselves, with the reason in each line.
SUPPRESSIONS = {'LSAN_OPTIONS': 'tests/lsan.supp',
                'TSAN_OPTIONS': 'tests/tsan.supp'}


# What tests/sim/ has that needs more than the programs.
SIM_TARGETS = {
    'builds_test.py': ['bin', 'build/clang-O0/sim/baton-sim'],
    'command_test.py': ['bin', 'build/release/sim/baton-sim-lmdb']}


class Result:
    """What a test came to: cases that passed, and (name, why) of those that did not."""

    def __init__(self):
        self.passed = 0
        self.skipped = []
        self.failed = []
        self.output = ''
        self.seconds = 0.0

    def fail(self, name, why):
        self.failed.append((name, why))


class Test:
    """`run` fills a Result; `targets` is what SCons must have built before."""

    def __init__(self, kind, name, run, targets=()):
        self.kind = kind
        self.name = name
        self.run = run
        self.targets = list(targets)

    def matches(self, pattern):
        short = re.sub(r'_(test|script|fuzz)$', '', self.name)
        names = (self.kind, self.name, short, self.kind + '/' + self.name,
                 self.kind + '/' + short)
        return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def environment(folder):
    env = {key: value for key, value in os.environ.items()
           if not key.startswith(('BATON_', 'CMOCKA_'))}
    env.update(SANITIZERS)
    for key, path in SUPPRESSIONS.items():
        if os.path.exists(os.path.join(ROOT, path)):
            env[key] = (env.get(key, '') + ':suppressions=' + ROOT + '/'
                        + path).lstrip(':')
    env['TMPDIR'] = folder
    env['PYTHONDONTWRITEBYTECODE'] = '1'
    return env


# Groups of the commands that run now, for Ctrl-C: they don't get it themselves.
RUNNING = set()


def kill_group(pid):
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def kill_strays(folder):
    """Ends what a test started in sessions of their own: all inherit its TMPDIR, which nobody else has."""
    mark = ('TMPDIR=' + folder).encode()
    for name in os.listdir('/proc'):
        if not name.isdigit():
            continue
        try:
            with open('/proc/%s/environ' % name, 'rb') as file:
                if mark in file.read().split(b'\0'):
                    os.kill(int(name), signal.SIGKILL)
        except OSError:
            # It ended while we looked, or belongs to somebody else.
            pass


def command(arguments, seconds, extra_env=None):
    """(exit code, output) of a command in a session of its own, with a TMPDIR of its own. None: it ran out of time."""
    folder = tempfile.mkdtemp(prefix='baton-test-')
    env = environment(folder)
    env.update(extra_env or {})
    process = subprocess.Popen(
        arguments, cwd=ROOT, env=env, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True)
    RUNNING.add(process.pid)
    try:
        output, _ = process.communicate(timeout=seconds)
        code = process.returncode
    except subprocess.TimeoutExpired:
        kill_group(process.pid)
        output, _ = process.communicate()
        code = None
    finally:
        # Whatever the test left running in its group ends with it.
        kill_group(process.pid)
        RUNNING.discard(process.pid)
        kill_strays(folder)
        shutil.rmtree(folder, ignore_errors=True)
    return code, output.decode('utf-8', 'replace')


def how_it_ended(code, seconds):
    if code is None:
        return 'did not end within %d seconds' % seconds
    if code < 0:
        return 'killed by %s' % signal.Signals(-code).name
    return 'exit code %d' % code


def cmocka_cases(output, code, seconds, result):
    """Counts by what cmocka prints as it goes: the summary is not there after a crash."""
    order = []
    for line in output.splitlines():
        found = re.search(
            r'\[ *(RUN|OK|SKIPPED|FAILED) *\] (\w+)$', line)
        if not found:
            continue
        mark, name = found.groups()
        if mark == 'RUN':
            order.append([name, 'did not end'])
        elif order and order[-1][0] == name and order[-1][1] == 'did not end':
            order[-1][1] = mark
    for name, mark in order:
        if mark == 'OK':
            result.passed += 1
        elif mark == 'SKIPPED':
            result.skipped.append(name)
        else:
            result.fail(name, how_it_ended(code, seconds)
                        if mark == 'did not end' else 'failed')
    if not order:
        result.fail('main', 'ran no test: ' + how_it_ended(code, seconds))
    elif code != 0 and not result.failed:
        # A leak, say, which is found when all is over.
        result.fail('main', how_it_ended(code, seconds))


def unit(variant, name, seconds):
    path = 'build/%s/tests/unit/%s' % (variant, name)

    def run(_options):
        result = Result()
        code, result.output = command([path], seconds)
        cmocka_cases(result.output, code, seconds, result)
        return result
    return Test('unit' if variant == 'debug' else variant, name, run, [path])


def script(name):
    path = 'build/debug/tests/script/' + name

    def run(options):
        result = Result()
        files = catalog.script_files(name)
        if not files:
            result.fail('files', 'there is no case for it')
        for file in files:
            arguments = [path] + (['--rewrite'] if options.rewrite else [])
            code, output = command(arguments + [file], 60)
            if code == 0:
                result.passed += 1
            else:
                result.fail(file, how_it_ended(code, 60))
                result.output += output
        return result
    return Test('script', name, run, [path])


def fuzz(name):
    path = 'build/debug/tests/fuzz/' + name
    folder = os.path.join('tests/fuzz/corpus', name[:-len('_fuzz')])

    def run(_options):
        result = Result()
        full = os.path.join(ROOT, folder)
        names = sorted(os.listdir(full)) if os.path.isdir(full) else []
        if not names:
            result.fail('corpus', folder + '/ has no input')
            return result
        code, result.output = command(
            [path] + [os.path.join(folder, entry) for entry in names], 120)
        if code == 0:
            result.passed = 1
        else:
            result.fail('replay', how_it_ended(code, 120))
        return result
    return Test('fuzz', name, run, [path])


def lines_test(kind, name, arguments, seconds, targets, env=None):
    """A test that prints `ok NAME`, `not ok NAME: why`, `skip NAME: why`."""
    def run(options):
        result = Result()
        code, result.output = command(
            arguments, seconds, env(options) if env else None)
        for line in result.output.splitlines():
            found = re.match(r'(ok|not ok|skip) ([^:]+)(?:: (.*))?$', line)
            if not found:
                continue
            mark, case, why = found.groups()
            if mark == 'ok':
                result.passed += 1
            elif mark == 'skip':
                result.skipped.append('%s: %s' % (case, why))
            else:
                result.fail(case, why or 'failed')
        if code is None or code < 0 or (code != 0 and not result.failed):
            result.fail('main', how_it_ended(code, seconds))
        elif not (result.passed or result.failed or result.skipped):
            result.fail('main', 'ran no test')
        return result
    return Test(kind, name, run, targets)


def cluster(path, kind='cluster'):
    """A test on real processes."""
    def env(options):
        folder = 'build/debug/bin' if options.debug else 'build/bin'
        return {'BATON_BIN': os.path.join(ROOT, folder)}
    return lines_test(kind, os.path.basename(path)[:-len('.py')],
                      [sys.executable, path], 900,
                      ['bin-debug' if '--debug' in sys.argv else 'bin'], env)


def check(name, function, targets=()):
    """One of checks.py: returns what is wrong, as text; empty if nothing."""
    def run(_options):
        result = Result()
        result.output = function()
        if result.output:
            result.fail(name, 'see below')
        else:
            result.passed = 1
        return result
    return Test('check', name, run, targets)


def swarm(kind, name, program, target, first, last):
    """So many runs of a simulator, each of which must pass."""
    def run(_options):
        result = Result()
        code, output = command(
            [os.path.join(ROOT, program), 'swarm', '--seeds',
             '%d..%d' % (first, last), '--jobs', str(WORKERS)], 600)
        result.output = output
        if code == 0:
            result.passed = 1
        else:
            result.fail('%d..%d' % (first, last), how_it_ended(code, 600))
        return result
    return Test(kind, name, run, [target])


def scenarios():
    """Each scenario that ships, over its first seeds."""
    def run(_options):
        result = Result()
        program = os.path.join(ROOT, 'build/bin/baton-sim')
        for path in sorted(os.listdir(os.path.join(ROOT, 'sim/scenarios'))):
            name, suffix = os.path.splitext(path)
            if suffix != '.scn':
                continue
            code, output = command(
                [program, 'run', name, '--jobs', str(WORKERS)], 300)
            if code == 0:
                result.passed += 1
            else:
                result.output += output
                result.fail(name, how_it_ended(code, 300))
        return result
    return Test('sim', 'scenarios', run, ['bin'])


def all_tests():
    """In three parts: what runs side by side, what takes both cores by itself, what must have the machine alone."""
    beside = [unit('debug', name, 120) for name in catalog.unit()]
    beside += [unit('tsan', name, 300) for name in catalog.tsan()]
    beside += [script(name) for name in catalog.script()]
    beside += [fuzz(name) for name in catalog.fuzz()]
    beside += [
        lines_test('check', 'tidy', [sys.executable, 'tests/tidy.py'], 60, []),
        check('pure', checks.pure, ['build/release/pure']),
        check('format', checks.clang_format),
        check('shellcheck', checks.shellcheck),
        check('mutants', mutants.check)]
    if os.path.exists(os.path.join(ROOT, 'client/baton.h')):
        beside.append(check('exports', checks.exports, ['stage']))
        beside.append(check('settings', checks.settings, ['bin']))
        for name in catalog.examples():
            beside.append(Test('install', name, example(name), ['stage']))
    wide = [check('clang-tidy', lambda: checks.clang_tidy(WORKERS),
                  ['compile_commands.json', 'build/debug/proto'])]
    if os.path.exists(os.path.join(ROOT, 'sim/baton_sim_main.c')):
        # The second with sanitizers; and with the product's real store, slower.
        real = 'build/%s/sim/baton-sim-lmdb'
        wide += [
            swarm('sim', 'bin', 'build/bin/baton-sim', 'bin', 1, 400),
            swarm('sim', 'debug', 'build/debug/sim/baton-sim', 'debug',
                  401, 430),
            swarm('lmdb', 'release', real % 'release', real % 'release', 1, 50),
            swarm('lmdb', 'debug', real % 'debug', real % 'debug', 51, 60),
            scenarios()]
        wide += [lines_test('sim', os.path.basename(path)[:-len('.py')],
                            [sys.executable, path], 300,
                            SIM_TARGETS.get(os.path.basename(path), ['bin']))
                 for path in sorted(glob.glob('tests/sim/*_test.py'))]
    alone = [cluster('tests/cluster/%s.py' % name)
             for name in catalog.cluster()]
    alone.append(cluster('tests/dev_test.py'))
    return beside, wide, alone


def example(name):
    def run(_options):
        result = Result()
        for way in ('shared', 'static'):
            said = checks.example(name, way)
            result.output += said
            if said:
                result.fail(way, 'does not build')
            else:
                result.passed += 1
        return result
    return run


def build(tests):
    """True if SCons made all that the tests need; it says itself what it does."""
    targets = sorted({target for test in tests for target in test.targets})
    if not targets:
        return True
    with subprocess.Popen(
            ['scons', '-Q', '-k', '-j', str(WORKERS)] + targets, cwd=ROOT,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True) as made:
        for line in made.stdout:
            if not line.rstrip().endswith('is up to date.'):
                print(line, end='', flush=True)
    return made.returncode == 0


def timed(test, options):
    started = time.monotonic()
    try:
        result = test.run(options)
    except OSError as error:
        result = Result()
        result.fail(test.name, str(error))
    result.seconds = time.monotonic() - started
    return result


def report(test, result):
    good = not result.failed
    print('%-6s %6.1f s  %s/%s, %d passed%s%s' % (
        'ok' if good else 'not ok', result.seconds, test.kind, test.name,
        result.passed,
        ', %d failed' % len(result.failed) if result.failed else '',
        ', %d skipped' % len(result.skipped) if result.skipped else ''))
    for name in result.skipped:
        print('         skipped ' + name)
    if not good:
        print('\n'.join('    | ' + line
                        for line in result.output.splitlines()))
        for name, why in result.failed:
            print('    FAILED %s/%s %s: %s' % (test.kind, test.name, name, why))
    sys.stdout.flush()
    return result


def run_all(parts, options):
    results = []
    beside, wide, alone = parts
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        running = {pool.submit(timed, test, options): test for test in beside}
        try:
            for done in concurrent.futures.as_completed(running):
                results.append(report(running[done], done.result()))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for pid in list(RUNNING):
                kill_group(pid)
            raise
    for test in wide + alone:
        results.append(report(test, timed(test, options)))
    return results


def arguments():
    parser = argparse.ArgumentParser(
        usage=__doc__, add_help=True)
    for flag in ('--no-build', '--rewrite', '--list', '--debug'):
        parser.add_argument(flag, action='store_true')
    parser.add_argument('names', nargs='*')
    return parser.parse_args()


def main():
    options = arguments()
    parts = all_tests()
    if options.names:
        for name in options.names:
            if not any(test.matches(name) for part in parts for test in part):
                print('no test is called %s; --list shows all' % name)
                return 2
        parts = [[test for test in part
                  if any(test.matches(name) for name in options.names)]
                 for part in parts]
    if options.list:
        for part in parts:
            for test in part:
                print('%s/%s' % (test.kind, test.name))
        return 0
    if not options.no_build:
        if not build([test for part in parts for test in part]):
            print('FAILED build')
            print('0 passed, 1 failed')
            return 1
    try:
        results = run_all(parts, options)
    except KeyboardInterrupt:
        print('interrupted')
        return 130
    passed = sum(result.passed for result in results)
    failed = sum(len(result.failed) for result in results)
    print('%d passed, %d failed' % (passed, failed))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
