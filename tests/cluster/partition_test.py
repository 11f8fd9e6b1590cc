"""Cables that are cut, in both directions or in one, while everybody goes on working."""
import random
import signal
import time

import wire
from lab import ELECTION_S, Relay, equal, path_of, run, until
from load import Load
from net import Net


def networked(lab, **settings):
    # What it said before it was cut off arrives when the cut is healed: that is told, and is no fault.
    lab.alarms_expected = ('a deposed leader is still sending',)
    cluster = lab.cluster(start=False, **settings)
    net = Net(cluster)
    cluster.start()
    return cluster, net


def status_of(stream, **op):
    """What a node says to that, or how it says nothing."""
    try:
        return stream.call(3.0, timeout_ms=1000, **op).status
    except (wire.Closed, wire.Late) as error:
        return type(error).__name__


def leader_cut_off(lab):
    """The old leader acknowledges nothing from the moment that another one might lead."""
    cluster, net = networked(lab)
    relay = Relay(cluster)
    session = relay.open('acme/alice/laptop', 'tab-1').id
    cluster.level()
    old = cluster.leader()
    others = cluster.followers()
    stream = wire.Stream(old.client)
    relay.drop(old)
    net.isolate(old, others)
    asked = [stream.send(1000, command={
        'lease': relay.lease, 'sequence': 100 + at, 'open_session': {
            'path': path_of('acme/alice/laptop'), 'tab': 'lost-%d' % at,
            'secret': bytes(16)}}) for at in range(3)]
    new = cluster.leader(others)
    for request in asked:
        status = stream.next(request).status
        assert status in ('UNKNOWN', 'NO_QUORUM', 'NOT_LEADER'), status
    for what, op in (
            ('a read', {'get_leader': {'scope': path_of('acme/alice')}}),
            ('a read by lease', {'get_leader': {
                'scope': path_of('acme/alice'), 'consistency': 'LEASE'}}),
            ('a renewal', {'renew': {'lease': relay.lease, 'number': 1}})):
        status = status_of(stream, **op)
        assert status in ('NO_QUORUM', 'NOT_LEADER', 'UNKNOWN'), \
            '%s by a leader that is cut off: %s' % (what, status)
    equal('stale', status_of(stream, get_leader={
        'scope': path_of('acme/alice'), 'consistency': 'STALE'}), 'OK')
    relay.at = new
    equal('close', relay.command('close_session', {
        'session': session, 'attachment': 1}).status, 'OK')
    equal('it knows no better',
          old.status().sessions, 1)
    net.heal()
    until('it follows', lambda: old.status().leader == new.id)
    cluster.level()
    tabs = {one['tab'] for one in lab.sessions(cluster, 'acme')}
    assert not tabs or tabs <= {'lost-0', 'lost-1', 'lost-2'}, tabs


def leader_hears_nobody(lab):
    """It can still speak, so the others have no reason to elect: it must see by itself that nobody answers."""
    cluster, net = networked(lab)
    relay = Relay(cluster)
    old = cluster.leader()
    others = cluster.followers()
    for other in others:
        net.cut(other.id, old.id)
    new = until('another one leads', lambda: (
        lambda one: one if one is not None and one is not old else None)(
            cluster.find_leader(others)))
    relay.drop(old)
    relay.at = new
    relay.open('acme/alice/laptop', 'tab-1')
    net.heal()
    cluster.leader()
    cluster.level()


def leader_is_not_heard(lab):
    cluster, net = networked(lab)
    relay = Relay(cluster)
    old = cluster.leader()
    others = cluster.followers()
    for other in others:
        net.cut(old.id, other.id)
    cluster.leader(others)
    relay.drop(old)
    relay.at = others[0]
    relay.open('acme/alice/laptop', 'tab-1')
    net.heal()
    cluster.leader()
    cluster.level()


def follower_comes_back_quietly(lab):
    """Cut off for many election timeouts, it must not bring a new term with it: nobody's writes wait for that."""
    cluster, net = networked(lab)
    leader = cluster.leader()
    away, other = cluster.followers()
    term = leader.status().self.term
    load = Load(cluster, 2)
    net.isolate(away, [leader, other])
    cut = time.monotonic()
    until('it misses the leader', lambda: away.status().leader == 0)
    until('many election timeouts have passed',
          lambda: time.monotonic() - cut > 5 * ELECTION_S)
    equal('term while away', away.status().self.term, term)
    net.heal()
    cluster.leader()
    load.finish()
    cluster.level()
    equal('leader', cluster.leader(), leader)
    equal('term', leader.status().self.term, term)
    load.check(lab)


def one_link_cut(lab):
    """A follower that the leader can't reach, and that the other one can, doesn't pull the leader down again and again."""
    cluster, net = networked(lab)
    leader = cluster.leader()
    lone, other = cluster.followers()
    net.isolate(lone, [leader])
    load = Load(cluster, 2)
    load.each_opened(200)
    cut = time.monotonic()
    until('many election timeouts have passed',
          lambda: time.monotonic() - cut > 5 * ELECTION_S)
    until('those two agree', lambda: cluster.find_leader([leader, other]))
    net.heal()
    load.finish()
    cluster.leader()
    cluster.level()
    load.check(lab)


def holder_keeps_the_baton(lab):
    """Nobody's baton moves because nodes lose sight of each other."""
    cluster, net = networked(lab)
    session = lab.session(cluster, 'acme/alice', 'laptop', 'tab-1',
                          '--ttl', '3s')
    epoch = session.wait(role='leader', scope='acme/alice')['epoch']
    lab.session(cluster, 'acme/alice', 'phone', 'tab-2', '--ttl', '3s')
    for _ in range(2):
        leader = cluster.leader()
        others = cluster.followers()
        net.isolate(leader, others)
        new = cluster.leader(others)
        renewed = new.metrics()['baton_renewals_total']
        until('renewals go on', lambda one=new, n=renewed:
              one.metrics()['baton_renewals_total'] >= n + 4)
        net.heal()
        cluster.leader()
    now = lab.baton(cluster, 'leader', 'acme/alice')
    equal('holder', (now['session'], now['epoch']), (session.id, epoch))
    assert session.find(event='lost') is None, session.lines


def disturb(cluster, net, dice):
    """One fault at random; whose it is."""
    nodes = list(cluster)
    victim = dice.choice(nodes)
    others = [node for node in nodes if node is not victim]
    kind = dice.choice(['kill', 'isolate', 'half', 'pause', 'kill all'])
    if kind == 'kill':
        victim.kill()
        victim.start()
    elif kind == 'isolate':
        net.isolate(victim, others)
    elif kind == 'half':
        net.cut(victim.id, others[0].id)
        net.cut(others[1].id, victim.id)
    elif kind == 'pause':
        victim.signal(signal.SIGSTOP)
    else:
        for node in nodes:
            node.kill()
        for node in nodes:
            node.start()
    return victim


def chaos(cluster, net, load):
    """Faults, one after the other, each for a second at most; then quiet."""
    seed = random.randrange(1 << 30)
    print('    seed %d' % seed)
    dice = random.Random(seed)
    load.each_opened(5)
    for _ in range(12):
        victim = disturb(cluster, net, dice)
        before = [len(opener.acknowledged) for opener in load.openers]
        try:
            until('', lambda seen=before: all(
                len(opener.acknowledged) > n + 3
                for n, opener in zip(seen, load.openers)), 1.0)
        except AssertionError:
            pass  # that may have stopped them: now it ends
        net.heal()
        victim.signal(signal.SIGCONT)
        load.each_opened_after(time.monotonic())
    load.finish()
    cluster.leader()
    cluster.level()


def chaos_then_quiet(lab):
    """When faults end, all that was acknowledged is there, once, on every node."""
    cluster, net = networked(lab, checkpoint_entries=64, log_keep_entries=64)
    load = Load(cluster, 4)
    chaos(cluster, net, load)
    load.check(lab)
    for node in cluster:
        equal('sessions on node %d' % node.id, node.status().sessions,
              sum(len(opener.acknowledged) for opener in load.openers))
    relay = Relay(cluster)
    for at in range(64):
        relay.open('even/up/laptop', 'tab-%d' % at)
    cluster.level()
    cluster.same_state()


def watch_through_chaos(lab):
    """A watch that went through all of it was told what one that asks afterwards is told."""
    cluster, net = networked(lab)
    watch = lab.background(cluster, 'watch', 'load', '--from', 1)
    load = Load(cluster, 4)
    chaos(cluster, net, load)
    last = str(max(opener.acknowledged[-1][1] for opener in load.openers))
    fresh = lab.background(cluster, 'watch', 'load', '--from', 1)
    for one in (watch, fresh):
        one.wait(event='session_opened', session=last)
    told, expected = (
        [(line['revision'], line['event'], line['scope'], line['session'],
          line['epoch']) for _, line in one.lines] for one in (watch, fresh))
    equal('events told', len(told), len(expected))
    equal('the same', told == expected, True)


if __name__ == '__main__':
    run([leader_cut_off, leader_hears_nobody, leader_is_not_heard,
         follower_comes_back_quietly, one_link_cut, holder_keeps_the_baton,
         chaos_then_quiet, watch_through_chaos])
