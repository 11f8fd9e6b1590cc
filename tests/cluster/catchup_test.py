"""A node that was away comes back to the same state, by log or by snapshot, and can lead."""
import signal
import subprocess
import os

import lab as laboratory
from lab import Relay, equal, run, until


def open_many(relay, first, n):
    return [relay.open('acme/g%d/laptop' % (number // 10),
                       'tab-%d' % number).id
            for number in range(first, first + n)]


def leads_with(lab, cluster, node, opened):
    """It leads when asked to, and answers from what it caught up with."""
    equal('leader', lab.baton(cluster, 'transfer', node.id)['leader'],
          str(node.id))
    assert cluster.leader() is node
    found = {int(one['session'])
             for one in lab.sessions(cluster, 'acme', nodes=[node])}
    equal('sessions', found, set(opened))


def away_then_by_log(lab):
    cluster = lab.cluster(checkpoint_entries=64)
    relay = Relay(cluster)
    opened = open_many(relay, 0, 10)
    away = cluster.followers()[0]
    away.kill()
    opened += open_many(relay, 10, 200)
    away.start()
    cluster.leader()
    cluster.level()
    equal('snapshots', away.metrics()['baton_snapshots_installed_total'], 0)
    opened += open_many(relay, 210, 64)
    cluster.same_state()
    leads_with(lab, cluster, away, opened)


def away_then_by_snapshot(lab):
    cluster = lab.cluster(checkpoint_entries=64, log_keep_entries=16)
    relay = Relay(cluster)
    opened = open_many(relay, 0, 10)
    away = cluster.followers()[0]
    away.kill()
    opened += open_many(relay, 10, 300)
    away.start()
    cluster.leader()
    cluster.level()
    installed = away.metrics()['baton_snapshots_installed_total']
    assert installed >= 1, 'no snapshot was installed'
    opened += open_many(relay, 310, 64)
    cluster.same_state()
    leads_with(lab, cluster, away, opened)
    # What it took from the snapshot is on its own disk, too.
    away.kill()
    away.start()
    cluster.leader()
    cluster.level()
    leads_with(lab, cluster, away, opened)


def snapshot_interrupted(lab):
    """A large snapshot, while the receiver is killed again and again: it ends with the same state all the same."""
    cluster = lab.cluster(checkpoint_entries=64, log_keep_entries=16)
    away = cluster.followers()[0]
    away.kill()
    running = cluster.running()
    bench = subprocess.run(
        lab.command(cluster, ['bench', 'open', '--clients', 2, '--total',
                              20000, '--pipeline', 200, '--keep',
                              '--ttl', '10m'], running),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=laboratory.clean_environment(), timeout=60, check=False)
    equal('bench: ' + bench.stdout, bench.returncode, 0)
    for _ in range(3):
        away.start()
        until('the snapshot is under way', lambda: receiving(away))
        away.signal(signal.SIGKILL)
        away.process.ended()
    away.start()
    cluster.leader()
    cluster.level()
    open_many(Relay(cluster), 0, 70)
    cluster.level()
    cluster.same_state()


def receiving(node):
    """True once something of a snapshot is in its database, or all of it."""
    status = node.ask(0.2)
    size = os.stat(os.path.join(node.data, 'data.mdb')).st_size
    return status is not None and (size > 1 << 20
                                   or status.self.applied > 1000)


def all_restart_with_snapshots(lab):
    cluster = lab.cluster(checkpoint_entries=64, log_keep_entries=16)
    relay = Relay(cluster)
    opened = open_many(relay, 0, 200)
    before = relay.leader('acme/g3/laptop')
    for node in cluster:
        node.kill()
    for node in cluster:
        node.start()
    cluster.leader()
    found = {int(one['session']) for one in lab.sessions(cluster, 'acme')}
    equal('sessions', found, set(opened))
    relay.close()
    after = relay.leader('acme/g3/laptop')
    equal('epoch', (after.epoch, after.session), (before.epoch, before.session))
    open_many(relay, 200, 64)
    cluster.level()
    cluster.same_state()


def one_node_alone(lab):
    """A cluster of one works, and keeps what it said."""
    cluster = lab.cluster(size=1)
    relay = Relay(cluster)
    opened = open_many(relay, 0, 5)
    cluster.nodes[1].kill()
    relay.close()
    cluster.nodes[1].start()
    cluster.leader()
    found = {int(one['session']) for one in lab.sessions(cluster, 'acme')}
    equal('sessions', found, set(opened))


if __name__ == '__main__':
    run([away_then_by_log, away_then_by_snapshot, snapshot_interrupted,
         all_restart_with_snapshots, one_node_alone])
