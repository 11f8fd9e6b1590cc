"""What the README promises of speed, measured: one fresh cluster of three nodes for each figure, the load from the same machine.

    tests/bench/run.sh              all of them, as a Markdown table
    tests/bench/run.sh open leader  some

Every row says what was asked, what came out, and how it was measured. Nothing is asserted here: a shared machine's figures are
read by people, beside the disk's own (the first rows), and as ratios."""
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                '..', 'cluster'))
import lab as cluster_lab  # noqa: E402
from lab import BIN, Lab, clean_environment, until  # noqa: E402

TICKS = os.sysconf('SC_CLK_TCK')
DEFAULTS = {'election_ms': 1000, 'heartbeat_ms': 100, 'map_mb': 1024,
            'reserve_mb': 16}
ROWS = []


def row(what, figure, floor, how):
    ROWS.append((what, figure, floor, how))
    print('| %s | %s | %s | `%s` |' % (what, figure, floor, how), flush=True)


def bench(cluster, *arguments):
    """What `baton bench` says, and the command as a user would type it."""
    command = [os.path.join(BIN, 'baton'), '--json', '--endpoints',
               cluster.endpoints(), 'bench'] + list(arguments)
    done = subprocess.run(command, env=clean_environment(), check=True,
                          stdout=subprocess.PIPE, timeout=300)
    last = done.stdout.decode().strip().splitlines()[-1]
    return json.loads(last), 'baton bench ' + ' '.join(arguments)


def cpu_seconds(node):
    with open('/proc/%d/stat' % node.process.pid, encoding='ascii') as file:
        fields = file.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_kb(node):
    found = {}
    with open('/proc/%d/status' % node.process.pid, encoding='ascii') as file:
        for line in file:
            if line.startswith(('VmRSS', 'RssAnon')):
                name, value = line.split(':')
                found[name] = int(value.split()[0])
    return found


def cpu_share(cluster, seconds):
    """Share of one core that each node takes, over a while."""
    before = {n.id: cpu_seconds(n) for n in cluster}
    start = time.monotonic()
    until('the while to pass', lambda: time.monotonic() - start >= seconds,
          seconds + 5)
    passed = time.monotonic() - start
    return [100 * (cpu_seconds(n) - before[n.id]) / passed for n in cluster]


def sessions(cluster):
    return cluster.leader().status().sessions


def disk(_lab):
    folder = os.path.join(os.environ.get('TMPDIR', '/tmp'), 'baton-disk')
    path = os.path.join(folder, 'probe')
    os.makedirs(folder, exist_ok=True)
    times = []
    with open(path, 'wb', buffering=0) as file:
        for _ in range(300):
            start = time.perf_counter()
            file.write(b'x' * 272)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - start)
    os.unlink(path)
    os.rmdir(folder)
    times.sort()
    row('the disk itself: append of 272 bytes and fdatasync',
        'p50 %.2f ms, p99 %.2f ms' % (1e3 * times[150], 1e3 * times[297]),
        '', 'tests/bench/run.sh disk')


def idle(lab):
    cluster = lab.cluster(**DEFAULTS)
    cluster.leader()
    shares = cpu_share(cluster, 20)
    row('idle cluster: CPU of a node',
        ', '.join('%.2f %%' % s for s in shares) + ' of a core', 'under 1 %',
        'over 20 s')


def open_(lab):
    cluster = lab.cluster(**DEFAULTS)
    cluster.leader()
    r, how = bench(cluster, 'open', '--clients', '4', '--pipeline', '250',
                   '--total', '500000')
    row('durable session opens, 1,000 in flight',
        '%s a second, p50 %.1f ms, p99 %.1f ms'
        % (format(round(r['per_second']), ','), r['p50_us'] / 1e3,
           r['p99_us'] / 1e3), '75,000 a second', how)


def open_one(lab):
    cluster = lab.cluster(**DEFAULTS)
    cluster.leader()
    r, how = bench(cluster, 'open', '--clients', '1', '--pipeline', '1',
                   '--total', '5000')
    row('durable session opens, one at a time',
        'p50 %.2f ms, p95 %.2f ms, p99 %.2f ms'
        % (r['p50_us'] / 1e3, r['p95_us'] / 1e3, r['p99_us'] / 1e3),
        'p50 of 1 ms', how)


def leader(lab):
    cluster = lab.cluster(**DEFAULTS)
    cluster.leader()
    r, how = bench(cluster, 'leader', '--clients', '10', '--pipeline', '100',
                   '--total', '2000000')
    row('linearizable leader queries',
        '%s a second, p50 %.1f ms, p99 %.1f ms'
        % (format(round(r['per_second']), ','), r['p50_us'] / 1e3,
           r['p99_us'] / 1e3), '150,000 a second', how)


def watch(lab):
    cluster = lab.cluster(**DEFAULTS)
    cluster.leader()
    r, how = bench(cluster, 'watch', '--clients', '10', '--total', '20000')
    row('watch: from the request to its event at the watcher',
        'p50 %.2f ms, p99 %.2f ms' % (r['p50_us'] / 1e3, r['p99_us'] / 1e3),
        '', how)


def renew(lab):
    """100,000 live sessions on 10 leases."""
    cluster = lab.cluster(**DEFAULTS)
    cluster.leader()
    arguments = ['renew', '--clients', '10', '--sessions', '10000',
                 '--seconds', '40', '--ttl', '10s']
    command = [os.path.join(BIN, 'baton'), '--json', '--endpoints',
               cluster.endpoints(), 'bench'] + arguments
    with subprocess.Popen(command, env=clean_environment(),
                          stdout=subprocess.PIPE) as load:
        until('100,000 sessions', lambda: sessions(cluster) >= 100000, 60)
        chief = cluster.leader()
        last = chief.status().self.log_last
        shares = cpu_share(cluster, 12)
        grown = chief.status().self.log_last - last
        load.communicate(timeout=120)
    row('100,000 live sessions on 10 leases, renewed: CPU of a node',
        '%s of a core, %d log entries in 12 s'
        % (', '.join('%.2f %%' % s for s in shares), grown),
        'under 1 %, no entry', 'baton bench ' + ' '.join(arguments))


def memory(lab):
    cluster = lab.cluster(**DEFAULTS)
    cluster.leader()
    before = {n.id: memory_kb(n) for n in cluster}
    arguments = ['open', '--clients', '4', '--pipeline', '250', '--total',
                 '910000', '--keep', '--ttl', '10m']
    _, how = bench(cluster, *arguments)
    cluster.level()
    n = sessions(cluster)
    figures = []
    for node in cluster:
        after = memory_kb(node)
        figures.append('%d (%d of it the heap)' % tuple(
            1024 * (after[k] - before[node.id][k]) / n
            for k in ('VmRSS', 'RssAnon')))
    row('memory of a node for each of %s sessions' % format(n, ','),
        ', '.join(figures) + ' bytes', '700 bytes', how + ', VmRSS')


def restart(lab):
    """Until a node that holds 100,000 sessions answers again."""
    cluster = lab.cluster(**DEFAULTS)
    cluster.leader()
    bench(cluster, 'open', '--clients', '4', '--pipeline', '250', '--total',
          '91000', '--keep', '--ttl', '10m')
    n = sessions(cluster)
    node = cluster.followers()[0]
    took = []
    for _ in range(5):
        node.kill()
        start = time.monotonic()
        node.start()
        until('the node to have its sessions',
              lambda: (node.ask() or cluster.leader().status()).self.id ==
              node.id and node.status().sessions == n)
        took.append(time.monotonic() - start)
    took.sort()
    row('restart with %s sessions, until the node answers with all of them'
        % format(n, ','), 'median %.2f s, slowest %.2f s' % (took[2], took[4]),
        '1 s', 'kill -9, start, admin socket; 5 times')


def sim(_lab):
    program = os.path.join(BIN, 'baton-sim')
    for what, name, floor in [
            ('simulator, reference load: 5 nodes, 20 clients, 60 calls a '
             'second, heartbeats each 50 ms', 'reference',
             '6.7 hours a minute'),
            ('simulator, idle cluster of 5 nodes', 'idle',
             '2,000 times real time')]:
        command = [program, 'run', 'tests/bench/%s.scn' % name, '--jobs', '2',
                   '--json']
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, timeout=600)
        r = json.loads(done.stdout.decode().splitlines()[-1])
        hours = r['sim_hours_per_minute']
        row(what, '%.1f simulated hours a minute on two cores, %s times real '
            'time, %d runs' % (hours, format(round(hours * 60), ','),
                               r['seeds']), floor,
            'baton-sim ' + ' '.join(command[1:]))


FIGURES = {'disk': disk, 'idle': idle, 'open': open_, 'open_one': open_one,
           'leader': leader, 'watch': watch, 'renew': renew, 'memory': memory,
           'restart': restart, 'sim': sim}


def main(names):
    unknown = [name for name in names if name not in FIGURES]
    if unknown:
        sys.exit('unknown figure %s: there are %s'
                 % (unknown[0], ', '.join(FIGURES)))
    print('| what | measured | floor | how |\n| --- | --- | --- | --- |')
    for name in names or FIGURES:
        lab = Lab()
        try:
            FIGURES[name](lab)
        finally:
            lab.end()


cluster_lab.PATIENCE = 30.0
main(sys.argv[1:])
