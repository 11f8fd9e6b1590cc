"""Who leads the cluster, and what survives when that node dies."""
import json
import signal
import time

import wire
from lab import ELECTION_S, Relay, equal, path_of, run, until
from load import Load


def first_election(lab):
    cluster = lab.cluster()
    leader = cluster.leader()
    status = lab.baton(cluster, 'status')
    equal('leader', status['leader'], str(leader.id))
    equal('nodes', sorted(node['id'] for node in status['nodes']),
          ['1', '2', '3'])
    for node in status['nodes']:
        real = cluster.nodes[int(node['id'])]
        equal('endpoint', node['endpoint'], real.client)
        equal('http', node['http'], real.http)
        equal('role', node['role'],
              'leader' if real is leader else 'follower')
        assert int(node['term']) >= 1 and int(node['commit']) >= 1, node
        assert int(node['applied']) >= 1, node
    for field in ('sessions', 'leases', 'scopes'):
        equal(field, status[field], 0)
    equal('alarms', status['alarms'], [])


def kill_leader_under_load(lab):
    cluster = lab.cluster()
    load = Load(cluster)
    load.each_opened(20)
    old = cluster.leader()
    old.kill()
    killed = time.monotonic()
    again = load.each_opened_after(killed + 0.1) - killed
    load.finish()
    assert again < 3 * ELECTION_S + 0.5, 'writes again after %.2f s' % again
    load.check(lab)
    old.start()
    cluster.leader()
    cluster.level()


def kill_all_and_restart(lab):
    cluster = lab.cluster()
    relay = Relay(cluster)
    opened = [relay.open('acme/alice/laptop', 'tab-%d' % number).id
              for number in range(50)]
    before = relay.leader('acme/alice/laptop')
    for node in cluster:
        node.signal(signal.SIGKILL)
    for node in cluster:
        node.process.ended()
    relay.close()
    for node in cluster:
        node.start()
    cluster.leader()
    found = {int(one['session']) for one in lab.sessions(cluster, 'acme')}
    equal('sessions', found, set(opened))
    after = relay.leader('acme/alice/laptop')
    equal('epoch', (after.epoch, after.session), (before.epoch, before.session))
    equal('renewal', relay.renew().status, 'OK')


def minority_refuses(lab):
    cluster = lab.cluster()
    relay = Relay(cluster)
    session = relay.open('acme/alice/laptop', 'tab-1').id
    cluster.level()
    alone = cluster.leader()
    for node in cluster.followers():
        node.kill()
    started = time.monotonic()
    lab.baton(cluster, 'leader', 'acme/alice', code=3, timeout='1s')
    lab.baton(cluster, 'resign', 'acme/alice', session, code=3, timeout='1s')
    lab.baton(cluster, 'sessions', 'acme', code=3, timeout='1s')
    took = time.monotonic() - started
    assert took < 6, 'three requests with 1 s each took %.1f s' % took
    until('it is no leader any more',
          lambda: alone.status().self.role != 'leader')
    one = lab.baton(cluster, 'leader', 'acme/alice', '--stale')
    equal('session', one['session'], str(session))
    equal('consistency', one['consistency'], 'stale')
    until('its age grows with time', lambda: lab.baton(
        cluster, 'leader', 'acme/alice', '--stale')['age_ms']
        > one['age_ms'] + 100)
    equal('sessions', [one['session'] for one in lab.sessions(
        cluster, 'acme', '--stale')], [str(session)])
    status = lab.baton(cluster, 'status', code=3, timeout='1s')
    found = {node['endpoint']: node['id'] for node in status[0]['nodes']}
    gone = [node.client for node in cluster if node is not alone]
    equal('who is known', found, {
        alone.client: str(alone.id), gone[0]: None, gone[1]: None})
    out, _ = lab.plain(cluster, 'status', code=3, timeout='1s')
    for address in gone:
        equal('its line', [line.split()[:3] for line in out.splitlines()
                           if address in line.split()],
              [['-', address, 'unreachable']])


def unreachable_but_known(lab):
    """The leader's list says whose address it is; --live remembers who answered there."""
    cluster = lab.cluster()
    one, other = cluster.followers()
    live = lab.background(cluster, 'status', '--live')
    live.wait(leader=str(cluster.leader().id))
    one.kill()
    nodes = lab.baton(cluster, 'status')['nodes']
    equal('of one', [(node['id'], node['endpoint']) for node in nodes
                     if node['role'] == 'unreachable'],
          [(str(one.id), one.client)])
    other.kill()

    def both():
        rows = [line['nodes'] for _, line in list(live.lines)]
        return [row for row in rows if {
            node['id'] for node in row if node['role'] == 'unreachable'
        } == {str(one.id), str(other.id)}]
    until('both are shown by number', both)


def one_nodes_view_is_called_so(lab):
    """By every verb that answers without a majority: to people on stderr, in JSON by the same fields."""
    cluster = lab.cluster()
    relay = Relay(cluster)
    relay.open('acme/alice/laptop', 'tab-1')
    epoch = relay.leader('acme/alice').epoch
    cluster.level()
    alone = cluster.leader()
    out, said = lab.plain(cluster, 'status')
    assert 'leader %d' % alone.id in out and said == '', (out, said)
    for node in cluster.followers():
        node.kill()
    until('it is no leader any more',
          lambda: alone.status().self.role != 'leader')
    for code, arguments in (
            (0, ['sessions', 'acme', '--stale']),
            (0, ['sessions', 'nobody', '--stale']),
            (0, ['leader', 'acme/alice', '--stale']),
            (2, ['leader', 'acme/nobody', '--stale']),
            (0, ['explain', 'acme/alice', '--stale']),
            (0, ['verify', 'acme/alice', epoch, '--stale']),
            (3, ['status'])):
        out, said = lab.plain(cluster, *arguments, code=code, timeout='1s')
        assert 'as one node knew it' in said, (arguments, out, said)
        assert 'as one node' not in out, (arguments, out, said)
        if arguments[0] not in ('explain', 'verify'):
            assert 'heard of a leader' in said, (arguments, said)
    refused = lab.baton(cluster, 'leader', 'acme/nobody', '--stale', code=2)
    equal('consistency', refused['consistency'], 'stale')
    assert refused['age_ms'] > 0, refused
    watch = lab.background(cluster, 'watch', 'acme')
    watch.wait(event='synced')
    assert '"age_ms"' in watch.process.said(), watch.process.said()
    for arguments in (['sessions', 'acme', '--stale'],
                      ['leader', 'acme/alice', '--stale']):
        def ages(words):
            rows = lab.baton(cluster, *words)
            rows = rows if isinstance(rows, list) else [rows]
            equal('consistency', {row['consistency'] for row in rows},
                  {'stale'})
            return min(row['age_ms'] for row in rows)
        before = ages(arguments)
        until('its age grows with time',
              lambda: ages(arguments) > before + 100)
    until('its history is called old', lambda: 'as one node knew it'
          in lab.plain(cluster, 'events', 'acme', '--from', '1')[1])
    status = lab.baton(cluster, 'status', code=3, timeout='1s')[0]
    equal('consistency', status['consistency'], 'stale')
    assert status['age_ms'] > 100, status


def restarted_alone(lab):
    """What it knows may be of any age, however short a time it runs: it says so, until a leader is there."""
    cluster = lab.cluster()
    relay = Relay(cluster)
    relay.open('acme/alice/laptop', 'tab-1')
    cluster.level()
    for node in cluster:
        node.kill()
    alone, other = list(cluster)[:2]
    alone.start()
    alone.status()
    view = 'as one node knew it, which has not heard of a leader since it'
    for code, arguments in (
            (2, ['leader', 'acme/alice', '--stale']),
            (0, ['sessions', 'acme', '--stale']),
            (0, ['events', 'acme', '--from', '1']),
            (3, ['status'])):
        out, said = lab.plain(cluster, *arguments, code=code, nodes=[alone],
                              timeout='1s')
        assert view in said, (arguments, out, said)
    refused = lab.baton(cluster, 'leader', 'acme/alice', '--stale', code=2,
                        nodes=[alone])
    equal('age of leader', refused['age_ms'], None)
    status = lab.baton(cluster, 'status', code=3, nodes=[alone],
                       timeout='1s')[0]
    equal('age of status', status['age_ms'], None)
    watch = lab.background(cluster, 'watch', 'acme', nodes=[alone])
    watch.wait(event='synced')
    assert '"age_ms":null' in watch.process.said(), watch.process.said()
    for path in ('/v1/leader/acme/alice', '/v1/sessions/acme'):
        _, _, text = alone.get(path + '?consistency=stale')
        equal('age by HTTP of ' + path, json.loads(text)['age_ms'], None)
    other.start()
    until('it has heard of a leader', lambda: json.loads(
        alone.get('/v1/sessions/acme?consistency=stale')[2])['age_ms']
          is not None)
    until('it knows again', lambda: lab.baton(
        cluster, 'sessions', 'acme', '--stale', nodes=[alone]))


def transfer(lab):
    cluster = lab.cluster()
    old = cluster.leader()
    new = cluster.followers()[0]
    moved = lab.baton(cluster, 'transfer', new.id)
    equal('leader', moved['leader'], str(new.id))
    assert cluster.leader() is new
    assert int(moved['term']) > 1
    assert old.status().self.role == 'follower'
    refused = lab.baton(cluster, 'transfer', 9, code=2)
    assert 'no such node' in refused['message'], refused


def transfer_to_one_that_just_came_back(lab):
    """It has everything, but no heartbeat has reached it since its start: a rolling restart goes as fast as that."""
    cluster = lab.cluster(election_ms=3000, heartbeat_ms=1000)
    node = cluster.followers()[0]
    node.kill()
    node.start()
    cluster.leader()
    cluster.level()
    equal('leader', lab.baton(cluster, 'transfer', node.id)['leader'],
          str(node.id))


def sigterm_hands_over(lab):
    """With an election timeout far above the deadline: only a hand-over can have made the new leader."""
    cluster = lab.cluster(election_ms=5000, heartbeat_ms=100)
    old = cluster.leader(patience=40)
    others = cluster.followers()
    old.signal(signal.SIGTERM)
    started = time.monotonic()
    equal('exit code', old.process.ended(2.0), 0)
    cluster.leader(others, patience=3.0)
    assert time.monotonic() - started < 4.0
    for node in others:
        node.signal(signal.SIGTERM)
    started = time.monotonic()
    for node in others:
        equal('exit code of %d' % node.id, node.process.ended(4.0), 0)
    took = time.monotonic() - started
    assert took < 2.0, 'SIGTERM of the last two took %.1f s' % took


def sigterm_of_all(lab):
    cluster = lab.cluster()
    Relay(cluster).open('acme/alice/laptop', 'tab-1')
    started = time.monotonic()
    for node in cluster:
        node.signal(signal.SIGTERM)
    for node in cluster:
        equal('exit code of %d' % node.id, node.process.ended(), 0)
    took = time.monotonic() - started
    assert took < 2.0, 'took %.1f s' % took
    for node in cluster:
        node.start()
    cluster.leader()
    equal('sessions', len(lab.sessions(cluster, 'acme')), 1)


def paused_leader(lab):
    """SIGSTOP for longer than the TTL: another one leads, no client notices, and the old one follows when it wakes."""
    cluster = lab.cluster()
    session = lab.session(cluster, 'acme/alice', 'laptop', 'tab-1',
                          '--ttl', '2s')
    epoch = session.wait(role='leader', scope='acme/alice')['epoch']
    cluster.level()
    old = cluster.leader()
    others = cluster.followers()
    old.signal(signal.SIGSTOP)
    stopped = time.monotonic()
    new = cluster.leader(others)
    until('longer than the TTL', lambda: time.monotonic() - stopped > 3.0)
    old.signal(signal.SIGCONT)
    until('the old leader follows', lambda:
          old.status().leader == new.id
          and old.status().self.role == 'follower')
    cluster.level()
    now = lab.baton(cluster, 'leader', 'acme/alice')
    equal('holder', (now['session'], now['epoch']), (session.id, epoch))
    assert session.find(event='lost') is None, session.lines
    assert session.process.running()
    for node in cluster:
        equal('leases expired on %d' % node.id,
              node.metrics()['baton_leases_expired_total'], 0)


def paused_leader_answers_nothing_old(lab):
    """What a leader is asked while it sleeps, it must not answer from what it knew."""
    cluster = lab.cluster()
    relay = Relay(cluster)
    session = relay.open('acme/alice/laptop', 'tab-1').id
    cluster.level()
    old = cluster.leader()
    others = cluster.followers()
    stream = wire.Stream(old.client)
    old.signal(signal.SIGSTOP)
    request = stream.send(get_leader={'scope': path_of('acme/alice')})
    new = cluster.leader(others)
    relay.drop(old)
    relay.at = new
    equal('close', relay.command('close_session', {
        'session': session, 'attachment': 1}).status, 'OK')
    old.signal(signal.SIGCONT)
    answer = stream.next(request)
    assert answer.status != 'OK', 'an answer from before: %r' % answer


if __name__ == '__main__':
    run([first_election, kill_leader_under_load, kill_all_and_restart,
         minority_refuses, unreachable_but_known, one_nodes_view_is_called_so,
         restarted_alone, transfer, transfer_to_one_that_just_came_back,
         sigterm_hands_over, sigterm_of_all, paused_leader,
         paused_leader_answers_nothing_old])
