"""Bad days of the disk, and of what lies on it: a clear message, a non-zero exit, and nothing acknowledged is lost."""
import fcntl
import os
import shutil
import signal
import subprocess

import wire
from lab import (Relay, Skip, clean_environment, equal, no_larger_files, run,
                 until)
from load import Load

SHIM = os.path.join(wire.ROOT, 'tests', 'fault', 'disk_preload.c')


def refuses_to_start(node, *words, **settings):
    """It ends by itself, with a sentence that has these words; returns what it said."""
    before = len(node.said())
    node.start(**settings)
    code = node.process.ended()
    said = node.said()[before:]
    assert code not in (0, 2) and code > 0, 'exit code %d: %s' % (code, said)
    last = [line for line in said.splitlines() if ' error ' in line]
    assert last, 'it says nothing: %s' % said
    for word in words:
        assert word in ' '.join(last), 'without "%s": %s' % (word, last)
    return said


def with_data(lab):
    """A cluster, what one client opened in it, and a follower that has it all."""
    cluster = lab.cluster()
    relay = Relay(cluster)
    for at in range(10):
        relay.open('acme/alice/laptop', 'needle-%d' % at)
    cluster.level()
    return cluster, cluster.followers()[0]


def in_use(lab):
    cluster, node = with_data(lab)
    first = node.process
    refuses_to_start(node, str(first.pid))
    assert first.running()
    node.process = first
    equal('status', node.status().node, node.id)
    cluster.level()


def foreign_directory(lab):
    cluster, node = with_data(lab)
    node.kill()
    refuses_to_start(node, 'cluster', cluster='another')
    other = cluster.nodes[node.id % 3 + 1]
    refuses_to_start(node, 'node', id=other.id,
                     listen_peer=node.peer, listen_client=node.client)
    node.start()
    cluster.leader()
    cluster.level()
    # A folder of somebody else's things isn't made ours.
    node.kill()
    strange = os.path.join(lab.folder, 'strange')
    os.mkdir(strange)
    with open(os.path.join(strange, 'letter.txt'), 'w',
              encoding='utf-8') as file:
        file.write('Dear Sir or Madam')
    refuses_to_start(node, strange, data=strange)
    equal('untouched', os.listdir(strange), ['letter.txt'])


def database_lost(lab):
    """The identity is there and the database isn't: what was promised is lost, so it must not go on as if nothing was."""
    cluster, node = with_data(lab)
    node.kill()
    os.remove(os.path.join(node.data, 'data.mdb'))
    refuses_to_start(node, 'data')
    refuses_to_start(node, 'data')
    equal('the others', len(lab.sessions(cluster, 'acme')), 10)


def identity_lost(lab):
    cluster, node = with_data(lab)
    node.kill()
    os.remove(os.path.join(node.data, 'identity'))
    refuses_to_start(node, 'identity')
    with open(os.path.join(node.data, 'identity'), 'w',
              encoding='utf-8') as file:
        file.write('baton-identity 2\ncluster 42\n')
    refuses_to_start(node, 'identity')
    equal('the others', len(lab.sessions(cluster, 'acme')), 10)


def damaged_record(lab):
    """One byte of an entry that was acknowledged isn't what it was."""
    cluster, node = with_data(lab)
    node.kill()
    path = os.path.join(node.data, 'data.mdb')
    with open(path, 'rb') as file:
        bytes_ = file.read()
    assert b'needle-7' in bytes_
    with open(path, 'wb') as file:
        file.write(bytes_.replace(b'needle-7', b'needle-8'))
    refuses_to_start(node, 'log entry', 'damaged')
    with open(path, 'wb') as file:
        file.write(bytes_)
    node.start()
    cluster.leader()
    cluster.level()


def wiped_directory(lab):
    """It comes back with nothing under its old name, and may have forgotten votes: the others refuse it, and say so."""
    lab.alarms_expected = ('another data directory',)
    cluster, node = with_data(lab)
    others = [one for one in cluster if one is not node]
    node.kill()
    shutil.rmtree(node.data)
    node.start()
    for other in others:
        until('an alarm on node %d' % other.id, lambda one=other: any(
            'node %d ' % node.id in text for text in one.status().alarms))
    assert node.status().self.applied <= 1, 'it was let in'
    leader = cluster.leader(others)
    Relay(cluster).open('acme/alice/laptop', 'after')
    leader.kill()
    rest = others[0] if leader is others[1] else others[1]
    until('no majority', lambda: rest.status().leader == 0)
    equal('it leads nothing', node.status().self.role != 'leader', True)
    status = lab.baton(cluster, 'status', nodes=[rest], code=3,
                       timeout='1s')[0]
    assert status['alarms'], status
    leader.start()
    cluster.leader(others)
    equal('sessions', len(lab.sessions(cluster, 'acme', nodes=others)), 11)


def older_image(lab):
    """Its directory as it was some starts ago: it has forgotten what it acknowledged since."""
    lab.alarms_expected = ('an older image',)
    cluster, node = with_data(lab)
    node.kill()
    image = os.path.join(lab.folder, 'image')
    shutil.copytree(node.data, image, ignore=lambda *_: ['admin.sock'])
    for _ in range(2):
        node.start()
        cluster.leader()
        cluster.level()
        node.kill()
    shutil.rmtree(node.data)
    shutil.copytree(image, node.data)
    node.start()
    others = [one for one in cluster if one is not node]
    for other in others:
        until('an alarm on node %d' % other.id, lambda one=other: any(
            'older' in text for text in one.status().alarms))
    equal('sessions', len(lab.sessions(cluster, 'acme', nodes=others)), 10)


# --- the disk itself --------------------------------------------------------------------------------------------------------

class Fault:
    """A disk that fails or hangs when it's told to, under every node that is started with `env`."""

    def __init__(self, lab):
        self.path = os.path.join(lab.folder, 'fault')
        library = os.path.join(lab.folder, 'disk_preload.so')
        made = subprocess.run(
            ['cc', '-shared', '-fPIC', '-D_GNU_SOURCE', '-I', wire.ROOT, SHIM,
             '-o', library], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, check=False)
        equal('cc: ' + made.stdout, made.returncode, 0)
        self.env = {'DISK_FAULT': self.path, 'LD_PRELOAD': library,
                    'ASAN_OPTIONS': os.environ.get('ASAN_OPTIONS', '')
                    + ':verify_asan_link_order=0'}
        with open(self.path, 'w', encoding='utf-8'):
            pass
        self.file = None

    def set(self, word):
        with open(self.path, 'w', encoding='utf-8') as file:
            file.write(word)

    def stall(self):
        self.file = open(self.path, 'w', encoding='utf-8')
        fcntl.flock(self.file, fcntl.LOCK_EX)
        self.file.write('stall')
        self.file.flush()

    def release(self):
        self.file.truncate(0)
        self.file.close()  # and so the lock


def lead(lab, cluster, node):
    """Makes that node the leader; one that has just come back may have to be asked again."""
    def leads():
        made = subprocess.run(
            lab.command(cluster, ['transfer', node.id]),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=clean_environment(), timeout=30, check=False)
        return made.returncode == 0 and cluster.leader() is node
    until('node %d leads' % node.id, leads)


def faulty_leader(lab, fault, **settings):
    """A cluster whose leader alone has that disk."""
    cluster = lab.cluster(**settings)
    leader = cluster.leader()
    leader.kill()
    cluster.leader()
    leader.start(env=fault.env)
    cluster.leader()
    lead(lab, cluster, leader)
    return cluster, leader


def ended_with(node, *words):
    code = node.process.ended()
    assert code not in (0, -signal.SIGABRT, -signal.SIGSEGV), code
    errors = [line for line in node.said().splitlines() if ' error ' in line]
    for word in words:
        assert word.lower() in ' '.join(errors).lower(), \
            'without "%s": %s' % (word, errors)


def failing_sync(lab):
    fault = Fault(lab)
    cluster, leader = faulty_leader(lab, fault)
    load = Load(cluster)
    load.each_opened(10)
    fault.set('error 5')
    ended_with(leader, 'Input/output error')
    load.each_opened(len(load.openers[0].acknowledged) + 5)
    load.finish()
    load.check(lab)
    fault.set('')
    leader.start(env=fault.env)
    cluster.leader()
    cluster.level()


def failing_sync_everywhere(lab):
    """All disks fail at once: nobody is left, and after a restart everything acknowledged is there."""
    fault = Fault(lab)
    cluster = lab.cluster(start=False)
    for node in cluster:
        node.start(env=fault.env)
    cluster.leader()
    relay = Relay(cluster)
    opened = [relay.open('acme/alice/laptop', 'tab-%d' % at).id
              for at in range(50)]
    fault.set('error 28')
    late = relay.try_once(1.0, command={
        'lease': relay.lease, 'sequence': 51, 'open_session': {
            'path': {'namespace': 'acme', 'group': 'alice', 'device': 'd'},
            'tab': 'late', 'secret': bytes(16)}})
    assert late is None or late.status != 'OK', late
    ended_with(ended_first(cluster), 'full')
    for node in cluster.running():
        node.kill()
    fault.set('')
    relay.close()
    for node in cluster:
        node.start()
    cluster.leader()
    found = {int(one['session']) for one in lab.sessions(cluster, 'acme')}
    equal('acknowledged, and lost', set(opened) - found, set())
    assert len(found) <= 51


def ended_first(cluster):
    return until('a node stops', lambda: next(
        (node for node in cluster if not node.running()), None))


def full_disk(lab):
    """A real one, of 16 MiB: the leader stops in order, the others go on; with room again it comes back."""
    if os.getuid() != 0:
        raise Skip('mounting a small disk takes root')
    cluster = lab.cluster(start=False, log_keep_entries=100000, reserve_mb=2)
    small = cluster.nodes[1]
    os.mkdir(small.data, 0o700)
    mounted = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', 'size=16m', 'none', small.data],
        stderr=subprocess.PIPE, text=True, check=False)
    if mounted.returncode != 0:
        raise Skip('mounting is not allowed: ' + mounted.stderr.strip())
    lab.undo.append(lambda: subprocess.run(['umount', small.data],
                                           check=False))
    for node in cluster:
        node.start()
    cluster.leader()
    lead(lab, cluster, small)
    kept = Relay(cluster)
    first = kept.open('acme/alice/laptop', 'tab-1').id
    bench = lab.spawn('bench', lab.command(
        cluster, ['bench', 'open', '--clients', 2, '--total', 200000,
                  '--pipeline', 100, '--ttl', '10m']),
        os.path.join(lab.folder, 'bench.log'))
    ended_with(small, 'full')
    bench.end()
    after = kept.open('acme/alice/laptop', 'tab-2').id
    found = {int(one['session'])
             for one in lab.sessions(cluster, 'acme')}
    equal('sessions', found, {first, after})
    subprocess.run(['mount', '-o', 'remount,size=200m', small.data],
                   check=True)
    small.start()
    cluster.leader()
    cluster.level()


def files_end_at_a_size(lab):
    """A limit on the size of files is a disk that is full in the middle of a write."""
    cluster = lab.cluster(start=False)
    small = cluster.nodes[1]
    for node in cluster:
        node.start(limits=no_larger_files(2 << 20) if node is small else None)
    load = Load(cluster)
    ended_with(small, 'writing or syncing failed')
    load.each_opened(len(load.openers[0].acknowledged) + 5)
    load.finish()
    load.check(lab)
    small.start()
    cluster.leader()
    cluster.level()


def hanging_leader(lab):
    """Its disk answers nothing any more: it says so on the admin socket, and stops leading."""
    fault = Fault(lab)
    cluster, leader = faulty_leader(lab, fault)
    load = Load(cluster)
    load.each_opened(10)
    fault.stall()
    others = [node for node in cluster if node is not leader]
    new = cluster.leader(others)
    assert new is not leader
    status = wire.ask_admin(leader.admin, 1.0, status={}).status_result
    equal('answers', status.node, leader.id)
    until('it knows how long the disk has hung',
          lambda: leader.status().self.disk_ms > 500)
    assert leader.status().self.role != 'leader'
    assert leader.metrics()['baton_store_oldest_wait_microseconds'] > 500000
    load.each_opened(len(load.openers[0].acknowledged) + 5)
    fault.release()
    load.finish()
    load.check(lab)
    cluster.leader()
    cluster.level()
    equal('its disk works', leader.status().self.disk_ms < 500, True)


def hanging_follower(lab):
    """Costs the cluster nothing; SIGTERM still ends it in time."""
    fault = Fault(lab)
    cluster, slow = faulty_leader(lab, fault)
    lead(lab, cluster, cluster.followers()[0])
    load = Load(cluster)
    load.each_opened(10)
    fault.stall()
    load.each_opened(len(load.openers[0].acknowledged) + 100)
    load.finish()
    load.check(lab)
    slow.signal(signal.SIGTERM)
    equal('exit code', slow.process.ended(2.0), 0)
    fault.release()
    slow.start()
    cluster.leader()
    cluster.level()


if __name__ == '__main__':
    run([in_use, foreign_directory, database_lost, identity_lost,
         damaged_record, wiped_directory, older_image, failing_sync,
         failing_sync_everywhere, full_disk, files_end_at_a_size,
         hanging_leader, hanging_follower])
