"""Real nodes, real clients, and every fault that a test wants, in a folder of its own that is gone afterwards.

A test is a function that takes a Lab and says what it expects with assert. run() gives each one a fresh Lab, ends every process
that it started (by pid, whatever happened), and prints `ok NAME` or `not ok NAME: why` with the ends of all logs.

Nothing here sleeps for luck: until() looks again until a condition holds or its deadline has passed."""
import http.client
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import wire

BIN = os.environ.get('BATON_BIN') or os.path.join(wire.ROOT, 'build', 'bin')
PATIENCE = 15.0      # for what should happen soon, on a machine that is busy
ELECTION_MS = 300
SETTINGS = {'cluster': 'lab', 'election-ms': ELECTION_MS, 'heartbeat-ms': 50,
            'map-mb': 64, 'reserve-mb': 1}
# Election timeouts are drawn from one to two of them.
ELECTION_S = 2 * ELECTION_MS / 1000


class Skip(Exception):
    """The test can't be done on this machine; says why."""


def until(what, condition, patience=PATIENCE):
    """What `condition` returns once that is true."""
    deadline = time.monotonic() + patience
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError('%s: not within %.1f s' % (what, patience))
        time.sleep(0.01)


def equal(what, found, expected):
    assert found == expected, '%s: %r, not %r' % (what, found, expected)


# Ports that were given out, so that two clusters of one test don't share one.
TAKEN = set()


def free_port():
    """Below the range that the kernel takes for outgoing connections: a node's port must be free again when it restarts."""
    while True:
        port = random.randrange(10000, 30000)
        if port in TAKEN:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(('127.0.0.1', port))
            except OSError:
                continue
        TAKEN.add(port)
        return port


def clean_environment(extra=None):
    env = {key: value for key, value in os.environ.items()
           if not key.startswith('BATON_')}
    env.update(extra or {})
    return env


class Process:
    """Something that runs, with its output in a file."""

    def __init__(self, name, log, popen):
        self.name = name
        self.log = log
        self.popen = popen
        self.pid = popen.pid
        self.told_to_end = False

    def running(self):
        return self.popen.poll() is None

    def signal(self, number):
        if number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            self.told_to_end = True
        self.popen.send_signal(number)

    def kill(self):
        """kill -9, and waits for the end."""
        self.signal(signal.SIGKILL)
        self.popen.wait(PATIENCE)

    def ended(self, patience=PATIENCE):
        """The exit code, once it has ended."""
        self.told_to_end = True
        try:
            return self.popen.wait(patience)
        except subprocess.TimeoutExpired as error:
            raise AssertionError('%s: still runs after %.1f s'
                                 % (self.name, patience)) from error

    def end(self):
        """Whatever state it is in."""
        if self.running():
            self.popen.kill()
            self.popen.wait()

    def said(self):
        with open(self.log, 'rb') as file:
            return file.read().decode('utf-8', 'replace')


class Node:
    """One batond: its data, its ports, and the process if it runs."""

    def __init__(self, lab, number, folder):
        self.lab = lab
        self.id = number
        self.folder = folder
        self.data = os.path.join(folder, 'n%d' % number)
        self.log = os.path.join(folder, 'n%d.log' % number)
        self.admin = os.path.join(self.data, 'admin.sock')
        self.peer, self.client, self.http = (
            '127.0.0.1:%d' % free_port() for _ in range(3))
        self.process = None
        self.settings = {}

    def start(self, env=None, limits=None, **settings):
        """`settings` of this start only, with _ for -; `limits`: called in the new process."""
        flags = dict(self.settings)
        flags.update({key.replace('_', '-'): value
                      for key, value in settings.items()})
        command = [os.path.join(BIN, 'batond')]
        for key, value in flags.items():
            command += ['--' + key, str(value)]
        self.process = self.lab.spawn('batond %d' % self.id, command, self.log,
                                      env, limits)
        return self

    def running(self):
        return self.process is not None and self.process.running()

    def kill(self):
        self.process.kill()

    def signal(self, number):
        self.process.signal(number)

    def said(self):
        with open(self.log, 'rb') as file:
            return file.read().decode('utf-8', 'replace')

    def ask(self, patience=2.0):
        """StatusResult by the admin socket; None if it doesn't answer."""
        try:
            return wire.ask_admin(self.admin, patience, status={}).status_result
        except (wire.Closed, wire.Late):
            return None

    def status(self):
        return until('admin socket of node %d' % self.id, self.ask)

    def metrics(self):
        """{name: value} of what isn't a histogram."""
        text = wire.ask_admin(self.admin, metrics={}).metrics
        return {line.split()[0]: float(line.split()[1])
                for line in text.splitlines() if not line.startswith('#')}

    def get(self, path):
        """(status, content type, text) of an HTTP request."""
        connection = http.client.HTTPConnection(self.http, timeout=PATIENCE)
        try:
            connection.request('GET', path)
            answer = connection.getresponse()
            return (answer.status, answer.getheader('Content-Type'),
                    answer.read().decode())
        finally:
            connection.close()


class Cluster:
    """Three nodes (or as many as asked for)."""

    def __init__(self, lab, size=3, name='c', **settings):
        self.lab = lab
        folder = os.path.join(lab.folder, name)
        os.mkdir(folder)
        self.nodes = {number: Node(lab, number, folder)
                      for number in range(1, size + 1)}
        shared = dict(SETTINGS)
        shared.update({key.replace('_', '-'): value
                       for key, value in settings.items()})
        for name in ('peer', 'client', 'http'):
            shared[{'peer': 'peers', 'client': 'clients'}.get(name, name)] = \
                ','.join('%d=%s' % (node.id, getattr(node, name))
                         for node in self)
        for node in self:
            node.settings = dict(shared, id=node.id, data=node.data)

    def __iter__(self):
        return iter(self.nodes.values())

    def start(self):
        for node in self:
            node.start()
        self.leader()
        return self

    def endpoints(self, nodes=None):
        return ','.join(node.client for node in nodes or self)

    def running(self):
        return [node for node in self if node.running()]

    def find_leader(self, nodes):
        """The node that leads, if all of `nodes` say so; None."""
        said = [(node, node.ask(0.5)) for node in nodes]
        if not said or any(status is None for _, status in said):
            return None
        leaders = {status.leader for _, status in said}
        leading = [node for node, status in said
                   if status.self.role == 'leader']
        if len(leading) == 1 and leaders == {leading[0].id}:
            return leading[0]
        return None

    def leader(self, nodes=None, patience=PATIENCE):
        """The one leader that all of `nodes` (those that run) agree on."""
        return until('one leader', lambda: self.find_leader(
            nodes or self.running()), patience)

    def followers(self):
        leader = self.leader()
        return [node for node in self.running() if node is not leader]

    def level(self, nodes=None):
        """Waits until all have applied all."""
        def same():
            said = [node.status().self for node in nodes or self.running()]
            highest = max(one.log_last for one in said)
            return all(one.applied == highest for one in said)
        until('all nodes applied the same', same)

    def same_state(self, nodes=None):
        """All checkpoints have the same state hash: waits until they are of the same index, then compares."""
        nodes = nodes or self.running()

        def hashes():
            said = [node.status() for node in nodes]
            if len({one.state_hash_index for one in said}) != 1:
                return None
            return [one.state_hash for one in said]
        found = until('checkpoints at the same index', hashes)
        assert found[0] != 0 and len(set(found)) == 1, \
            'state hashes differ: %r' % found


class Session:
    """`baton session open`, and what it printed."""

    def __init__(self, lab, process):
        self.lab = lab
        self.process = process
        self.lines = []
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.process.popen.stdout:
            self.lines.append((time.monotonic(), json.loads(line)))

    def find(self, **fields):
        """(time, line) of the first line with these fields; None."""
        for at, line in list(self.lines):
            if all(line.get(key) == value for key, value in fields.items()):
                return at, line
        return None

    def wait(self, patience=PATIENCE, **fields):
        def there():
            found = self.find(**fields)
            if found is None and not self.process.running():
                raise AssertionError('%s ended with %r after %r, without %r: %s'
                                     % (self.process.name,
                                        self.process.popen.returncode,
                                        self.lines, fields,
                                        self.process.said()))
            return found
        try:
            return until('%s prints %r' % (self.process.name, fields), there,
                         patience)[1]
        except AssertionError as error:
            raise AssertionError('%s; it printed %r' % (
                error, [line for _, line in self.lines])) from error

    @property
    def id(self):
        return self.wait(event='opened')['session']

    def kill(self):
        self.process.kill()


class Lab:
    """What one test uses."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix='baton-lab-')
        self.processes = []
        self.clusters = []
        self.undo = []
        self.alarms_expected = ()  # words of alarms that belong to the test

    # --- processes ---

    def spawn(self, name, command, log, env=None, limits=None, stdout=None):
        with open(log, 'ab') as file:
            # restore_signals: Python ignores SIGXFSZ, and `limits` may want that.
            popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stdout or file,
                stderr=file, env=clean_environment(env), preexec_fn=limits,
                restore_signals=limits is None)
        process = Process(name, log, popen)
        self.processes.append(process)
        return process

    def cluster(self, size=3, start=True, **settings):
        cluster = Cluster(self, size, 'c%d' % len(self.clusters), **settings)
        self.clusters.append(cluster)
        return cluster.start() if start else cluster

    def command(self, cluster, arguments, nodes=None, timeout='5s'):
        return [os.path.join(BIN, 'baton'), '--json', '--endpoints',
                cluster.endpoints(nodes), '--timeout', timeout] + [
                    str(one) for one in arguments]

    def background(self, cluster, *arguments, nodes=None, env=None):
        """A `baton` that goes on, as a Session (whose lines are whatever JSON it prints)."""
        name = 'baton %s' % ' '.join(str(one) for one in arguments)
        log = os.path.join(self.folder, 'p%d.log' % len(self.processes))
        process = self.spawn(name, self.command(cluster, arguments, nodes),
                             log, env, stdout=subprocess.PIPE)
        return Session(self, process)

    def session(self, cluster, group, device, tab, *more, nodes=None):
        """An open session."""
        session = self.background(
            cluster, 'session', 'open', '--group', group, '--device', device,
            '--tab', tab, *more, nodes=nodes)
        session.wait(event='opened')
        return session

    def baton(self, cluster, *arguments, code=0, nodes=None, timeout='5s',
              stdin=None):
        """What `baton --json` printed: the object, or a list if it's several; with its refusal if `code` isn't 0. Usage (1): text."""
        made = subprocess.run(
            self.command(cluster, arguments, nodes, timeout), input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=clean_environment(), timeout=60, check=False)
        assert made.returncode == code, 'baton %s: exit code %d, not %d: %s%s' \
            % (' '.join(str(one) for one in arguments), made.returncode, code,
               made.stdout, made.stderr)
        if code == 1:
            return made.stderr
        lines = [json.loads(line) for line in made.stdout.splitlines()]
        if code != 0:
            lines += [json.loads(line) for line in made.stderr.splitlines()
                      if line.startswith('{')]
        return lines[0] if len(lines) == 1 else lines

    def plain(self, cluster, *arguments, code=0, nodes=None, timeout='5s'):
        """What `baton` says to people: (stdout, stderr)."""
        command = self.command(cluster, arguments, nodes, timeout)
        command.remove('--json')
        made = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env=clean_environment(),
            timeout=60, check=False)
        equal('exit code of %s: %s' % (' '.join(command), made.stderr),
              made.returncode, code)
        return made.stdout, made.stderr

    def sessions(self, cluster, *arguments, **options):
        """`baton sessions`, always a list."""
        found = self.baton(cluster, 'sessions', *arguments, **options)
        return found if isinstance(found, list) else [found]

    # --- the end ---

    def broken(self):
        """What a process said of a broken invariant, or a sanitizer of it; empty if nothing."""
        for process in self.processes:
            for line in process.said().splitlines():
                if any(word in line for word in (
                        'assert_failed', 'Sanitizer', 'runtime error')):
                    return '%s: %s' % (process.name, line.strip())
        return ''

    def check(self):
        """What holds for every test: no broken invariant, no alarm that it didn't ask for."""
        assert not self.broken(), self.broken()
        for cluster in self.clusters:
            for node in cluster:
                assert node.process is None or node.running() \
                    or node.process.told_to_end, 'node %d ended' % node.id
                alarms = node.status().alarms if node.running() else []
                strange = [text for text in alarms if not any(
                    words in text for words in self.alarms_expected)]
                assert not strange, 'node %d: alarms %r' % (node.id, strange)

    def end(self):
        for process in reversed(self.processes):
            process.end()
        for undo in reversed(self.undo):
            undo()
        shutil.rmtree(self.folder, ignore_errors=True)

    def print_logs(self, lines=40):
        seen = set()
        for process in self.processes:
            if process.log in seen or not os.path.exists(process.log):
                continue
            seen.add(process.log)
            said = process.said().splitlines()
            if said:
                print('--- %s, pid %d: the last of %d lines' % (
                    process.name, process.pid, len(said)))
                print('\n'.join('  ' + line for line in said[-lines:]))


class Relay:
    """A client process on the wire: one lease, numbered commands, sent again under the same number until they're answered."""

    def __init__(self, cluster, ttl_ms=60000, label=''):
        self.cluster = cluster
        self.ttl_ms = ttl_ms
        self.label = label
        self.streams = {}
        self.at = None
        self.sequence = 0
        self.renewals = 0
        self.lease = self.ask(command={'open_lease': {
            'nonce': os.urandom(16), 'ttl_ms': ttl_ms,
            'label': label}}).reply.id

    def stream(self, node):
        if node.id not in self.streams:
            self.streams[node.id] = wire.Stream(node.client, 2.0)
        return self.streams[node.id]

    def drop(self, node):
        stream = self.streams.pop(node.id, None)
        if stream is not None:
            stream.close()

    def close(self):
        """Ends the connections; the lease is left to expire."""
        for node in list(self.cluster):
            self.drop(node)

    def try_once(self, patience, **request):
        """The answer of a node that says neither "not me" nor "not now"; None."""
        nodes = list(self.cluster)
        self.at = self.at or nodes[0]
        node = self.at
        following = nodes[node.id % len(nodes)]
        try:
            message = self.stream(node).call(patience, **request)
        except (wire.Closed, wire.Late):
            self.drop(node)
            self.at = following
            return None
        if message.status == 'NOT_LEADER':
            self.at = self.cluster.nodes.get(message.leader, following)
            return None
        if message.status in ('UNAVAILABLE', 'NO_QUORUM', 'UNKNOWN', 'BUSY'):
            self.at = following
            return None
        return message

    def ask(self, patience=PATIENCE, each=2.0, **request):
        """An answer from whoever leads."""
        return until('an answer to %r' % request,
                     lambda: self.try_once(each, **request), patience)

    def command(self, op, fields, sequence=None, patience=PATIENCE):
        """The message that answers a numbered command."""
        if sequence is None:
            self.sequence += 1
            sequence = self.sequence
        return self.ask(patience, command={
            'lease': self.lease, 'sequence': sequence, op: fields})

    def renew(self):
        self.renewals += 1
        return self.ask(renew={'lease': self.lease, 'number': self.renewals})

    def open(self, path, tab, secret=None, **more):
        """The Reply to an open_session; path is NS/G/D."""
        message = self.command('open_session', dict(
            path=path_of(path), tab=tab, secret=secret or os.urandom(16),
            **more))
        assert message.status == 'OK', message
        return message.reply

    def leader(self, path):
        """LeaderResult, linearizable; None if there is none."""
        message = self.ask(get_leader={'scope': path_of(path)})
        return message.leader_result if message.status == 'OK' else None


def path_of(text):
    names = ('namespace', 'group', 'device')
    return dict(zip(names, text.split('/')))


def no_larger_files(bytes_max):
    """For Node.start(limits=...): writes beyond it fail, as on a full disk."""
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, bytes_max))
    return limit


def one(test):
    """True if it passed."""
    lab = Lab()
    started = time.monotonic()
    name = test.__name__
    try:
        test(lab)
        lab.check()
        print('ok %s' % name, flush=True)
        return True
    except Skip as reason:
        print('skip %s: %s' % (name, reason), flush=True)
        return True
    except Exception as error:  # whatever it is, the next test comes
        traceback.print_exc(file=sys.stdout)
        lab.print_logs()
        why = ' '.join((lab.broken() or str(error)).split()) \
            or type(error).__name__
        print('not ok %s: %s' % (name, why[:400]), flush=True)
        return False
    finally:
        lab.end()
        print('    %s took %.1f s' % (name, time.monotonic() - started),
              flush=True)


def run(tests):
    """Runs all, or those named on the command line."""
    sys.stdout.reconfigure(line_buffering=True)
    names = sys.argv[1:]
    chosen = [test for test in tests if not names or test.__name__ in names]
    results = [one(test) for test in chosen]
    sys.exit(0 if all(results) else 1)
