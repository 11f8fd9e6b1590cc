"""What ./dev up and ./dev down promise, on programs that are built already (BATON_BIN), with data and ports of its own."""
import json
import os
import pty
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time

from cases import must, run_with

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PORTS = [base + node for base in (7100, 7200, 7300) for node in (1, 2, 3)]
PATIENCE = 60.0


def bindable(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(('127.0.0.1', port))
        except OSError:
            return False
    return True


def free_offset():
    """Far from the ports of a cluster that somebody looks at just now."""
    for _ in range(1000):
        offset = random.randrange(3000, 24000)
        if all(bindable(port + offset) for port in PORTS):
            return offset
    raise RuntimeError('no nine free ports')


def wait_for(what, condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError('%s: not within %d s' % (what, PATIENCE))
        time.sleep(0.02)  # tidy: sleeps, because this is the one loop that waits


class Dev:
    """./dev with a folder and ports of its own."""

    def __init__(self, folder):
        self.offset = free_offset()
        self.data = os.path.join(folder, 'data')
        self.bin = os.environ['BATON_BIN']
        self.env = dict(os.environ, DEV_DATA=self.data, DEV_BIN=self.bin,
                        DEV_PORT_OFFSET=str(self.offset))

    def run(self, *arguments):
        """(exit code, output)."""
        made = subprocess.run(
            [os.path.join(ROOT, 'dev')] + list(arguments), env=self.env,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=PATIENCE,
            check=False)
        return made.returncode, made.stdout

    def expect(self, code, *arguments):
        got, output = self.run(*arguments)
        if got != code:
            raise AssertionError('./dev %s: exit code %d, not %d: %s' % (
                ' '.join(arguments), got, code, output))
        return output

    def status(self):
        endpoints = ','.join('127.0.0.1:%d' % (port + self.offset)
                             for port in PORTS[3:6])
        made = subprocess.run(
            [os.path.join(self.bin, 'baton'), '--endpoints', endpoints,
             '--json', 'status'], stdout=subprocess.PIPE, text=True,
            timeout=PATIENCE, check=True)
        return json.loads(made.stdout)

    def commit(self):
        return max(int(node.get('commit', 0))
                   for node in self.status()['nodes'])

    def pids(self):
        found = []
        for node in (1, 2, 3):
            path = os.path.join(self.data, 'n%d' % node, 'pid')
            if os.path.exists(path):
                with open(path, encoding='ascii') as file:
                    found.append(int(file.read()))
        return found


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # The child of a shell that ended waits for init to take its code.
    with open('/proc/%d/stat' % pid, encoding='ascii') as file:
        return file.read().rpartition(')')[2].split()[0] != 'Z'


def up_and_down(dev):
    said = dev.expect(0, 'up', '--detach')
    pids = dev.pids()
    try:
        must(len(pids) == 3 and all(alive(pid) for pid in pids),
             'three pid files of living nodes: %r' % pids)
        must('127.0.0.1:%d' % (7201 + dev.offset) in said, said)
        again = dev.expect(1, 'up')
        must(all(str(pid) in again for pid in pids)
             and './dev down' in again, again)
        before = dev.commit()
    finally:
        said = dev.expect(0, 'down')
    must(not any(alive(pid) for pid in pids), 'all have ended')
    must(not dev.pids() and 'stopped n1 n2 n3' in said, said)
    for node in (1, 2, 3):
        must(os.path.exists('%s/n%d/log' % (dev.data, node)), 'the log stays')
    dev.expect(0, 'up', '--detach')
    try:
        after = dev.commit()
    finally:
        dev.expect(0, 'down')
    must(after > before, 'commit %d, it was %d before' % (after, before))


def foreign_pid_file(dev):
    """A pid that went to another program since then isn't touched."""
    other = subprocess.Popen(['sleep', '600'])
    try:
        os.makedirs(dev.data + '/n1', exist_ok=True)
        with open(dev.data + '/n1/pid', 'w', encoding='ascii') as file:
            file.write('%d\n' % other.pid)
        said = dev.expect(0, 'down')
        must('no node is running' in said, said)
        must(other.poll() is None, 'the other program lives')
        must(not dev.pids(), 'the pid file is gone')
    finally:
        other.kill()
        other.wait()


def port_in_use(dev):
    with socket.socket() as taken:
        port = 7302 + dev.offset
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(('127.0.0.1', port))
        taken.listen()
        said = dev.expect(1, 'up', '--detach')
        must('port %d' % port in said, said)
        must(not dev.pids(), 'none was started')


def read_until(fd, seen, end):
    """All that a terminal showed until `end(seen)` or its end."""
    while not end(seen):
        try:
            more = os.read(fd, 65536)
        except OSError:
            break
        if not more:
            break
        seen += more
    return seen


def too_late(_number, _frame):
    raise AssertionError('the terminal did not show what it should')


def control_c(dev):
    """Ctrl-C in the live table's terminal stops all three."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(os.path.join(ROOT, 'dev'), ['dev', 'up'], dev.env)
    signal.signal(signal.SIGALRM, too_late)
    signal.alarm(int(PATIENCE))
    seen = read_until(fd, b'', lambda text: b'Try next' in text)
    # What comes after the greeting is the table; it names the leader.
    read_until(fd, b'', lambda text: b'leader' in text.lower())
    pids = dev.pids()
    must(len(pids) == 3, 'three nodes: %r' % seen)
    os.write(fd, b'\x03')
    last = read_until(fd, b'', lambda text: False)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    signal.alarm(0)
    must(code == 0 and b'stopped n1 n2 n3' in last,
         'exit code %d, %r' % (code, last))
    must(not any(alive(node) for node in pids), 'all have ended')


def shell_alone(dev):
    """A signal to ./dev alone stops all three, too."""
    with open(os.devnull, 'wb') as nowhere:
        shell = subprocess.Popen([os.path.join(ROOT, 'dev'), 'up'],
                                 env=dev.env, stdin=subprocess.DEVNULL,
                                 stdout=nowhere, stderr=nowhere,
                                 start_new_session=True)
        wait_for('three pid files', lambda: len(dev.pids()) == 3)
        pids = dev.pids()
        shell.terminate()
        shell.wait(timeout=PATIENCE)
    wait_for('the end of all nodes',
             lambda: not any(alive(pid) for pid in pids))


def wipe(dev):
    dev.expect(0, 'down', '--wipe')
    must(not os.path.exists(dev.data), 'the data is gone')
    dev.expect(1, 'down', '--everything')


def main():
    with tempfile.TemporaryDirectory(prefix='baton-dev-') as folder:
        dev = Dev(folder)
        code = run_with(dev, up_and_down, foreign_pid_file, port_in_use,
                        control_c, shell_alone, wipe)
        dev.run('down')
    return code


if __name__ == '__main__':
    sys.exit(main())
