"""A watch tells everything once, in order, whatever happens to the node that tells it."""
import json
import os
import subprocess
import threading

import lab as laboratory
import wire
from lab import Relay, equal, path_of, run, until


class Watch:
    """One watch on one node; remembers every revision and what it was told."""

    def __init__(self, node, start=0, **more):
        self.node = node
        self.stream = wire.Stream(node.client)
        self.id = self.stream.send(watch=dict({'from': start}, **more))
        self.events = []
        self.sessions = []
        self.scopes = []
        self.revision = start - 1 if start else 0
        self.synced = None
        self.resets = 0

    def take(self, patience=laboratory.PATIENCE):
        message = self.stream.next(self.id, patience)
        assert message.status == 'OK', message
        part = message.watch
        if part.reset:
            self.resets += 1
            self.sessions, self.scopes, self.events = [], [], []
            self.revision = 0
        self.sessions += part.sessions
        self.scopes += part.scopes
        for batch in part.batches:
            if self.synced is not None or not self.state_first():
                assert batch.revision > self.revision, \
                    'revision %d after %d' % (batch.revision, self.revision)
            self.revision = max(self.revision, batch.revision)
            for event in batch.events:
                equal('revision', event.revision, batch.revision)
                self.events.append(event)
        if part.synced:
            self.synced = part.revision
            self.revision = max(self.revision, part.revision)

    def state_first(self):
        return bool(self.sessions or self.scopes or self.resets)

    def take_until(self, condition):
        while not condition():
            self.take()

    def close(self):
        self.stream.close()


def opened(events):
    return [event.tab for event in events if event.kind == 'SESSION_OPENED']


def tabs(first, last):
    return ['tab-%03d' % at for at in range(first, last)]


def open_tabs(relay, first, last):
    return [relay.open('acme/alice/laptop', tab).id
            for tab in tabs(first, last)]


def state_then_events(lab):
    cluster = lab.cluster()
    relay = Relay(cluster)
    open_tabs(relay, 0, 20)
    for node in cluster:
        cluster.level()
        watch = Watch(node, namespace='acme')
        watch.take_until(lambda one=watch: one.synced is not None)
        equal('sessions', len(watch.sessions) + len(opened(watch.events)), 20)
        equal('scopes', sorted((one.scope.device, one.session != 0)
                               for one in watch.scopes),
              [('', True), ('laptop', True)])
        watch.close()
    watch = Watch(cluster.leader(), namespace='acme')
    watch.take_until(lambda: watch.synced is not None)
    told = len(watch.events)
    open_tabs(relay, 20, 40)
    other = relay.open('other/bob/phone', 'tab')
    open_tabs(relay, 40, 41)
    watch.take_until(lambda: opened(watch.events)[-1:] == ['tab-040'])
    equal('events', opened(watch.events[told:]), tabs(20, 41))
    assert other.id not in [one.session for one in watch.events]


def resumed_on_another_node(lab):
    cluster = lab.cluster()
    relay = Relay(cluster)
    first = Watch(cluster.leader(), namespace='acme')
    first.take_until(lambda: first.synced is not None)
    open_tabs(relay, 0, 30)
    first.take_until(lambda: len(opened(first.events)) >= 10)
    events = list(first.events)
    cluster.leader().kill()
    for node in cluster.running():
        # Asked before that node knows of what it is asked for: it tells when it does.
        watch = Watch(node, first.revision + 1, namespace='acme')
        if node is cluster.running()[0]:
            open_tabs(relay, 30, 31)
        watch.take_until(lambda one=watch: opened(one.events)[-1:]
                         == ['tab-030'])
        equal('no gap, no duplicate', opened(events + watch.events),
              tabs(0, 31))
        equal('state', len(watch.sessions), 0)
        watch.close()
    everything = [Watch(node, 1, namespace='acme')
                  for node in cluster.running()]
    for watch in everything:
        watch.take_until(lambda one=watch: opened(one.events)[-1:]
                         == ['tab-030'])
    one, other = [[event.plain() for event in watch.events]
                  for watch in everything]
    for events in (one, other):
        for event in events:
            event.update(claims=[], capabilities=[])
    equal('the same history on both', one, other)


def command_line_goes_on(lab):
    """`baton watch` itself moves to another node."""
    cluster = lab.cluster()
    relay = Relay(cluster)
    open_tabs(relay, 0, 1)
    watches = [lab.background(cluster, 'watch', 'acme', nodes=order)
               for order in ([cluster.nodes[at] for at in places] for places in
                             ((1, 2, 3), (2, 3, 1), (3, 1, 2)))]
    for watch in watches:
        watch.wait(event='synced')
    at = 1
    for node in cluster:
        open_tabs(relay, at, at + 10)
        node.kill()
        open_tabs(relay, at + 10, at + 20)
        at += 20
        node.start()
        cluster.leader()
    for watch in watches:
        watch.wait(event='session_opened', tab=tabs(at - 1, at)[0])
        told = [line for _, line in watch.lines]
        equal('each once', [line['tab'] for line in told
                            if line['event'] == 'session_opened'],
              tabs(1, at))
        revisions = [int(line['revision']) for line in told]
        equal('in order', revisions, sorted(revisions))


def compacted(lab):
    """What isn't kept any more: the state again, in the same call; and a plain refusal for history."""
    cluster = lab.cluster(events_keep=50, checkpoint_entries=64,
                          log_keep_entries=16)
    relay = Relay(cluster)
    watch = Watch(cluster.leader(), namespace='acme')
    watch.take_until(lambda: watch.synced is not None)
    start = watch.revision + 1
    open_tabs(relay, 0, 400)
    refused = until('history is trimmed', lambda: (
        lambda one: one if one.get('error') else None)(
            events(lab, cluster)))
    equal('error', refused['error'], 'COMPACTED')
    late = Watch(cluster.leader(), start, namespace='acme')
    late.take_until(lambda: late.synced is not None)
    equal('resets', late.resets, 1)
    equal('sessions', len(late.sessions) + len(opened(late.events)), 400)
    told = len(late.events)
    open_tabs(relay, 400, 410)
    late.take_until(lambda: opened(late.events)[-1:] == ['tab-409'])
    equal('events', opened(late.events[told:]), tabs(400, 410))
    # The one that listened all the while has missed nothing.
    watch.take_until(lambda: opened(watch.events)[-1:] == ['tab-409'])
    equal('events', opened(watch.events), tabs(0, 410))


def history_survives_restart(lab):
    """Nothing was trimmed, so everything is there to be asked for, from the first revision on."""
    cluster = lab.cluster()
    relay = Relay(cluster)
    open_tabs(relay, 0, 20)
    cluster.level()

    def asked(**options):
        return lab.baton(cluster, 'events', 'acme', '--from', 1, **options)
    before = asked()
    for node in cluster:
        node.kill()
    for node in cluster:
        node.start()
    cluster.leader()
    cluster.level()
    for node in cluster:
        after = asked(nodes=[node])
        equal('history on node %d' % node.id, after[:len(before)], before)


def pages_from_two_nodes(lab):
    """The second one lags, and has nobody to catch up with: that's not the history's end."""
    cluster = lab.cluster()
    relay = Relay(cluster)
    late = cluster.followers()[0]
    late.kill()
    first, other = [node for node in cluster if node is not late]
    open_tabs(relay, 0, 1020)
    cluster.level([first, other])
    expected = lab.baton(cluster, 'events', 'acme', '--from', 1, nodes=[first])
    command = lab.command(cluster, ['events', 'acme', '--from', '1'],
                          [first, late], '60s')
    asking = lab.spawn('baton events', command,
                       os.path.join(lab.folder, 'events.log'),
                       stdout=subprocess.PIPE)
    # A page is more than fits a pipe: it waits for us with the rest of it.
    told = [asking.popen.stdout.readline()]
    first.kill()
    other.kill()
    late.start()
    late.status()
    before = late.metrics()['baton_requests_total']
    reading = threading.Thread(
        target=lambda: told.extend(asking.popen.stdout))
    reading.start()
    until('the one that lags was asked, or it is over', lambda:
          not asking.running() or
          late.metrics()['baton_requests_total'] >= before + 2)
    other.start()
    reading.join(60)
    equal('exit code', asking.ended(), 0)
    equal('all of it', [json.loads(line) for line in told], expected)


def events(lab, cluster):
    """The history's first line, or its refusal."""
    made = subprocess.run(
        lab.command(cluster, ['events', 'acme', '--from', '1', '--to', '20']),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=laboratory.clean_environment(), timeout=30, check=False)
    if made.returncode == 0:
        return {}
    equal('exit code', made.returncode, 4)
    return json.loads(made.stderr)


def revisions(stream, request, last):
    """All that the watch is told, up to that revision; the events themselves aren't looked at."""
    found = []
    while not found or found[-1] < last:
        message = wire.decode('ClientMessage', stream.frames.receive(
            laboratory.PATIENCE), 'Event')
        equal('message', (message.id, message.status), (request, 'OK'))
        assert not message.watch.reset and not message.watch.lagging, message
        found += [batch.revision for batch in message.watch.batches]
    return found


def slow_reader_misses_nothing(lab):
    """It reads nothing while far more happens than is queued for it or kept in memory."""
    cluster = lab.cluster(client_queue_mb=1, events_mb=1)
    node = cluster.leader()
    start = node.status().self.applied + 1
    slow = wire.Stream(node.client)
    asked = slow.send(watch={'from': start})
    bench = subprocess.run(
        lab.command(cluster, ['bench', 'open', '--clients', 2, '--total',
                              30000, '--pipeline', 200]),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=laboratory.clean_environment(), timeout=60, check=False)
    equal('bench: ' + bench.stdout, bench.returncode, 0)
    relay = Relay(cluster)
    last = relay.open('acme/alice/laptop', 'last').revision
    told = revisions(slow, asked, last)
    fresh = wire.Stream(node.client)
    expected = revisions(fresh, fresh.send(watch={'from': start}), last)
    assert len(expected) > 30000, len(expected)
    equal('all of it, once, in order', told == expected, True)


def of_one_lease(lab):
    """A relay watches what concerns its own sessions, wherever they are."""
    cluster = lab.cluster()
    relay, other = Relay(cluster), Relay(cluster)
    mine = relay.open('acme/alice/laptop', 'tab-1').id
    watch = Watch(cluster.leader(), lease=relay.lease)
    watch.take_until(lambda: watch.synced is not None)
    other.open('acme/bob/laptop', 'tab-1')
    rival = other.open('acme/alice/laptop', 'tab-2').id
    epoch = relay.leader('acme/alice/laptop').epoch
    offer = relay.command('handoff', {
        'scope': path_of('acme/alice/laptop'), 'to': rival}).reply.id
    assert offer != 0
    equal('resign', relay.command('resign', {
        'scope': path_of('acme/alice/laptop'), 'epoch': epoch}).status, 'OK')
    watch.take_until(lambda: [
        event for event in watch.events
        if event.kind == 'GRANTED' and event.previous_session == mine])
    assert 'bob' not in [event.group for event in watch.events]


if __name__ == '__main__':
    run([state_then_events, resumed_on_another_node, command_line_goes_on,
         compacted, history_survives_restart, pages_from_two_nodes,
         slow_reader_misses_nothing, of_one_lease])
