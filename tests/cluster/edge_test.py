"""The edge: what is refused before it reaches the log, with the field and the range named; limits; HTTP."""
import json
import os
import urllib.parse

import wire
from lab import Relay, equal, path_of, run, until

SCOPE = 'acme/alice/laptop'


def refusal(relay, op, fields, status='INVALID'):
    """The sentence that comes with it."""
    message = relay.command(op, fields)
    equal('%s %r' % (op, fields), message.status, status)
    assert message.message, 'a refusal without words: %r' % message
    return message.message


def opening(**changes):
    fields = {'path': path_of(SCOPE), 'tab': 'tab', 'secret': bytes(16)}
    fields.update(changes)
    return fields


def bad_names(lab):
    cluster = lab.cluster(size=1)
    relay = Relay(cluster)
    names = ['', 'a/b', 'a\nb', 'a\x7fb', 'a\u0085b', 'x' * 129, b'\xff\xfe',
             b'\xc0\xaf', b'\xed\xa0\x80']
    for field in ('namespace', 'group', 'device'):
        for name in names:
            path = dict(path_of(SCOPE), **{field: name})
            said = refusal(relay, 'open_session', opening(path=path))
            assert field in said and '128' in said, said
    for name in names:
        said = refusal(relay, 'open_session', opening(tab=name))
        assert 'tab' in said and '128' in said, said
    before = cluster.nodes[1].status().self.log_last
    refusal(relay, 'open_session', opening(tab=''))
    equal('refused at the edge: the log', cluster.nodes[1].status()
          .self.log_last, before)
    for at, name in enumerate(['x' * 128, '\u00fc' * 64, 'a b', '\u6f22',
                               '.', '..', '%2f', '\U0001f389']):
        path = {'namespace': 'acme', 'group': name, 'device': name}
        equal('open %r' % name, relay.command('open_session', opening(
            path=path, tab='tab-%d' % at)).status, 'OK')
    listed = {one['group'] for one in lab.sessions(cluster, 'acme')}
    assert 'acme/' + 'x' * 128 in listed and 'acme/\U0001f389' in listed


def bad_leases(lab):
    cluster = lab.cluster(size=1)
    relay = Relay(cluster)
    for fields, words in (
            ({'ttl_ms': 999}, ('TTL', '1,000', '600,000')),
            ({'ttl_ms': 600001}, ('TTL', '1,000', '600,000')),
            ({'ttl_ms': 0}, ('TTL',)),
            ({'nonce': bytes(15)}, ('nonce', '16')),
            ({'label': 'x' * 129}, ('label', '128')),
            ({'label': 'a\nb'}, ('label',))):
        lease = {'nonce': os.urandom(16), 'ttl_ms': 5000, 'label': 'r'}
        lease.update(fields)
        answer = relay.ask(command={'open_lease': lease})
        equal('%r' % fields, answer.status, 'INVALID')
        said = answer.message.lower().replace(',', '')
        for word in words:
            assert word.lower().replace(',', '') in said, \
                '%r: %s' % (fields, answer.message)
    for ttl_ms in (1000, 600000):
        equal('ttl %d' % ttl_ms, relay.ask(command={'open_lease': {
            'nonce': os.urandom(16), 'ttl_ms': ttl_ms}}).status, 'OK')


def bad_capabilities(lab):
    cluster = lab.cluster(size=1)
    relay = Relay(cluster)
    for key, value, words in (
            ('BATTERY', 101, ('battery', '100')),
            ('BATTERY', -1, ('battery', '100')),
            ('CHARGING', 2, ('charging', '1')),
            ('KIND', 6, ('kind', 'server')),
            ('NETWORK', 7, ('network', 'wifi')),
            ('RTT_MS', 600001, ('rtt', '600000')),
            ('VISIBLE', 2, ('visible', '1')),
            ('CORES', 0, ('cores', '4096')),
            ('MEMORY_MB', 1 << 25, ('memory', '16777216')),
            ('PRIORITY', 101, ('priority', '100')),
            (77, 1, ('capability',))):
        said = refusal(relay, 'open_session', opening(
            capabilities=[{'key': key, 'value': value}]))
        for word in words:
            assert word in said.lower().replace(',', ''), said
    refusal(relay, 'open_session', opening(
        capabilities=[{'key': 'BATTERY', 'value': 1}] * 2))
    refusal(relay, 'open_session', opening(secret=bytes(8)))
    usage = lab.baton(cluster, 'session', 'open', '--group', 'acme/alice',
                      '--device', 'd', '--tab', 't', '--cap', 'battery=101',
                      code=1)
    assert 'battery' in usage and '100' in usage, usage


def bad_commands(lab):
    """What only the leader itself may say, what has no number, what names nothing."""
    cluster = lab.cluster(size=1)
    relay = Relay(cluster)
    session = relay.open(SCOPE, 'tab-1').id
    for op, fields in (('term_start', {'node': 1}), ('node_seen', {'node': 1}),
                       ('expire_lease', {'lease': relay.lease}),
                       ('sweep_lease', {'lease': relay.lease}),
                       ('end_grace', {'session': session, 'attachment': 1}),
                       ('scope_due', {'scope': path_of(SCOPE)}),
                       ('touched', {'lease_deltas': [relay.lease]})):
        refusal(relay, op, fields)
    equal('without a number', relay.ask(command={
        'lease': relay.lease, 'close_session': {'session': session}}).status,
          'INVALID')
    equal('no op', relay.ask(command={'lease': relay.lease, 'sequence': 99})
          .status, 'INVALID')
    equal('no such session', relay.command('close_session', {
        'session': 999999, 'attachment': 1}).status, 'NOT_FOUND')
    stranger = Relay(cluster)
    equal('not its own', stranger.command('close_session', {
        'session': session, 'attachment': 1}).status, 'NOT_ALLOWED')
    equal('no such lease', relay.ask(command={
        'lease': 12345678, 'sequence': 1, 'open_session': opening()}).status,
          'NOT_FOUND')
    stream = wire.Stream(cluster.nodes[1].client)
    equal('nothing asked', stream.call().status, 'UNSUPPORTED')
    equal('sessions', len(lab.sessions(cluster, 'acme')), 1)


def limits_are_named(lab):
    cluster = lab.cluster(size=1)
    relay = Relay(cluster)

    def limit(policy, paths, words):
        """The last of `paths` is one too many."""
        equal('policy', relay.command('set_policy', {
            'namespace': 'acme', 'policy': policy}).status, 'OK')
        sessions = [relay.open(path, 'tab-%d' % at).id
                    for at, path in enumerate(paths[:-1])]
        said = refusal(relay, 'open_session', opening(
            path=path_of(paths[-1]), tab='last'), 'LIMIT')
        for word in words:
            assert word in said, '%r: %s' % (policy, said)
        for session in sessions:
            relay.command('close_session', {'session': session,
                                            'attachment': 1})

    paths = ['acme/g%d/d' % at for at in range(4)]
    limit({'sessions_max': 3}, paths, ['namespace', '3'])
    limit({'sessions_per_lease_max': 3}, paths, ['lease', '3'])
    limit({'devices_per_group_max': 2}, ['acme/g/d1', 'acme/g/d2',
                                         'acme/g/d3'], ['device', '2'])
    limit({'tabs_per_device_max': 2}, ['acme/g/d'] * 3, ['device', '2'])
    equal('set_limits', relay.command('set_limits', {
        'sessions_max': 1, 'namespaces_max': 1}).status, 'OK')
    first = relay.open('acme/g/d', 'tab')
    said = refusal(relay, 'open_session', opening(tab='two'), 'LIMIT')
    assert 'cluster' in said and '1' in said, said
    assert first.id


def watch_limits_are_named(lab):
    cluster = lab.cluster(size=1, watches_max=5,
                          watches_per_connection_max=3)
    node = cluster.nodes[1]
    streams = [wire.Stream(node.client) for _ in range(2)]
    for _ in range(3):
        streams[0].send(watch={'namespace': 'acme'})
    refused = streams[0].next(streams[0].send(watch={'namespace': 'acme'}))
    equal('status', refused.status, 'LIMIT')
    assert 'connection' in refused.message and '3' in refused.message
    for _ in range(2):
        streams[1].send(watch={'namespace': 'acme'})
    refused = streams[1].next(streams[1].send(watch={'namespace': 'acme'}))
    equal('status', refused.status, 'LIMIT')
    assert 'node' in refused.message and '5' in refused.message
    streams[0].close()
    until('theirs are free again', lambda: node.status().watches == 2)


def command_line_refuses(lab):
    """Usage: exit code 1, and what was expected."""
    cluster = lab.cluster(size=1)
    for arguments, words in (
            (['nonsense'], ['nonsense']),
            (['leader'], ['NAMESPACE/GROUP']),
            (['leader', 'acme'], ['NAMESPACE/GROUP']),
            (['leader', 'acme//x'], ['128']),
            (['leader', 'a' * 129 + '/x'], ['128']),
            (['verify', 'acme/alice'], ['EPOCH']),
            (['verify', 'acme/alice', 'soon'], ['EPOCH', 'soon']),
            (['session', 'open', '--group', 'acme/alice'], ['--device']),
            (['session', 'open', '--group', 'acme/alice', '--device', 'd',
              '--tab', 't', '--ttl', '999ms'], ['--ttl', '1s', '10m']),
            (['session', 'open', '--group', 'acme/alice', '--device', 'd',
              '--tab', 't', '--cap', 'speed=3'], ['speed']),
            (['handoff', 'acme/alice'], ['--to']),
            (['events', 'acme'], ['--from']),
            (['elect', 'acme/alice', 'true'], ['--']),
            (['status', '--frobnicate'], ['frobnicate'])):
        said = lab.baton(cluster, *arguments, code=1)
        for word in words:
            assert word in said, '%r: %s' % (arguments, said)
    lab.baton(cluster, 'leader', 'acme/nobody', code=2)
    lab.baton(cluster, 'explain', 'acme/nobody', code=2)
    cluster.nodes[1].kill()
    refused = lab.baton(cluster, 'leader', 'acme/nobody', code=3,
                        timeout='500ms')
    assert refused['message'], refused


# --- HTTP -----------------------------------------------------------------------------------------------------------------

def http_metrics(lab):
    cluster = lab.cluster()
    Relay(cluster).open(SCOPE, 'tab-1')
    cluster.level()
    for node in cluster:
        status, kind, text = node.get('/metrics')
        equal('status', status, 200)
        assert kind.startswith('text/plain'), kind
        helps, types, values = {}, {}, {}
        for line in text.splitlines():
            words = line.split(' ', 3)
            if line.startswith('# HELP '):
                helps[words[2]] = words[3]
            elif line.startswith('# TYPE '):
                types[words[2]] = words[3]
            else:
                name, value = line.rsplit(' ', 1)
                values[name] = float(value)
        for name in values:
            base = name.split('{')[0]
            for end in ('_bucket', '_sum', '_count'):
                if base.endswith(end) and base[:-len(end)] in types:
                    base = base[:-len(end)]
            assert base in helps and types[base] in (
                'gauge', 'counter', 'histogram'), name
        equal('sessions', values['baton_sessions'], 1)
        assert values['baton_raft_commit_index'] >= 1
        buckets = [value for name, value in values.items()
                   if name.startswith('baton_store_commit_seconds_bucket')]
        equal('cumulative', buckets, sorted(buckets))
        equal('count', buckets[-1], values['baton_store_commit_seconds_count'])


def http_health(lab):
    cluster = lab.cluster()
    for node in cluster:
        equal('healthz', node.get('/healthz')[0], 200)
        equal('readyz', node.get('/readyz')[0], 200)
    alone = cluster.leader()
    for node in cluster.followers():
        node.kill()
    until('not ready without a majority',
          lambda: alone.get('/readyz')[0] == 503)
    equal('healthz', alone.get('/healthz')[0], 200)
    equal('stale', alone.get('/v1/sessions/acme?consistency=stale')[0], 200)
    equal('linearizable', alone.get('/v1/leader/acme/alice')[0], 503)


def http_reads(lab):
    cluster = lab.cluster()
    relay = Relay(cluster, label='relay 1')
    session = relay.open(SCOPE, 'tab-1').id
    odd = relay.open('acme/\u00fc \u6f22/d', 't').id
    cluster.level()
    leader = cluster.leader()
    status = json.loads(leader.get('/status')[2])
    equal('leader', status['leader'], leader.id)
    code, kind, text = leader.get('/v1/leader/acme/alice')
    equal('leader', code, 200)
    assert kind.startswith('application/json'), kind
    found = json.loads(text)
    equal('scope', (found['scope'], found['session'], found['device'],
                    found['tab'], found['relay']),
          ('acme/alice', str(session), 'laptop', 'tab-1', 'relay 1'))
    equal('epoch', int(found['epoch']), relay.leader('acme/alice').epoch)
    equal('consistency', found['consistency'], 'linearizable')
    found = json.loads(leader.get('/v1/leader/acme/alice/laptop')[2])
    equal('scope', found['scope'], 'acme/alice/laptop')
    for path in ('/v1/leader/acme/nobody', '/v1/leader/acme/alice/phone',
                 '/v1/nonsense', '/'):
        code, _, text = leader.get(path)
        equal(path, code, 404)
    for path in ('/v1/leader/acme', '/v1/leader/acme/%00',
                 '/v1/leader/acme/' + 'x' * 129, '/v1/leader/acme/%ff',
                 '/v1/leader/acme/alice?consistency=hearsay'):
        code, _, text = leader.get(path)
        assert code in (400, 404), '%s: %d %s' % (path, code, text)
    for path, wanted, words in (
            ('/v1/leader/acme/%zz', 400, 'two hex digits'),
            ('/v1/leader/acme/' + 'x' * 9000, 414, '4096 bytes')):
        code, _, text = leader.get(path)
        equal(path[:40], code, wanted)
        assert words in text, text
    for query in ('stale', 'stale=', 'stale=maybe', 'stale=1'):
        code, _, text = leader.get('/v1/leader/acme/alice?' + query)
        said = json.loads(text)
        equal(query, (code, said['error']), (400, 'INVALID'))
        assert '"stale"' in said['message'] and \
            'consistency' in said['message'], said
    quoted = urllib.parse.quote('\u00fc \u6f22')
    found = json.loads(leader.get('/v1/leader/acme/' + quoted)[2])
    equal('session', found['session'], str(odd))
    listed = json.loads(leader.get('/v1/sessions/acme')[2])
    equal('sessions', {int(one['session']) for one in listed['sessions']},
          {session, odd})
    listed = json.loads(leader.get('/v1/sessions/acme/alice')[2])
    equal('of the group', [one['tab'] for one in listed['sessions']],
          ['tab-1'])
    equal('of nobody', json.loads(leader.get('/v1/sessions/none/such')[2])[
        'sessions'], [])
    follower = cluster.followers()[0]
    code, _, text = follower.get('/v1/leader/acme/alice')
    said = json.loads(text)
    assert code == 200 or (code == 503 and said['leader'] == leader.id and
                           said['leader_http'] == leader.http), (code, text)
    code, _, text = follower.get('/v1/leader/acme/alice?consistency=stale')
    equal('stale', (code, json.loads(text)['consistency']), (200, 'stale'))


def no_figure_without_a_measurement(lab):
    cluster = lab.cluster(size=1)
    bench = ('bench', 'renew', '--sessions', 10, '--clients', 1)
    refused = lab.baton(cluster, *bench, '--seconds', 1, code=4)
    assert 'nothing was measured' in refused['message'] and \
        '--ttl' in refused['message'], refused
    found = lab.baton(cluster, *bench, '--seconds', 2, '--ttl', '1s')
    assert found['total'] > 0, found


def status_says_how_many_more(lab):
    """The table of batons is cut, and says so."""
    cluster = lab.cluster(size=1)
    relay = Relay(cluster)
    for at in range(10):
        relay.open('acme/g%d/d' % at, 't')
    found = lab.baton(cluster, 'status')
    equal('all', (len(found['batons']), found['batons_more']), (20, 0))
    said, _ = lab.plain(cluster, 'status')
    assert 'more' not in said, said
    relay.open('acme/last/d', 't')
    found = lab.baton(cluster, 'status')
    equal('cut', (len(found['batons']), found['batons_more']), (20, 2))
    said, _ = lab.plain(cluster, 'status')
    assert said.endswith('... and 2 more: baton sessions NS\n'), said
    page = json.loads(cluster.nodes[1].get('/status')[2])
    equal('HTTP', page['batons_more'], 2)


def http_names_are_as_sent(lab):
    """The scope that was asked for, or a refusal: never another one."""
    cluster = lab.cluster(size=1)
    node = cluster.nodes[1]
    relay = Relay(cluster)
    names = ['g', 'g+', 'g ', '.', '..', '%2f', '%0a', 'g?', 'g;', 'g#', '&=']
    for at, name in enumerate(names):
        path = {'namespace': 'h', 'group': name, 'device': 'd'}
        equal('open %r' % name, relay.command('open_session', opening(
            path=path, tab='tab-%d' % at)).status, 'OK')
    for name in names:
        quoted = urllib.parse.quote(name, safe='+')
        for written in (quoted, quoted.replace('.', '%2e')):
            code, _, text = node.get('/v1/leader/h/' + written)
            equal('%s: %s' % (written, text), code, 200)
            equal(written, json.loads(text)['scope'], 'h/' + name)
    for written, wanted in (
            ('h/g%0a', 400), ('h/g%0d', 400), ('h/g%0ax', 400),
            ('h%2Fg', 400), ('h%2fg/d', 400), ('%2e%2e/h/g', 404),
            ('x/../h/g', 400), ('h//g', 400), ('./h/g', 404), ('h/g/', 400),
            ('h/g%20x', 404)):
        code, _, text = node.get('/v1/leader/' + written)
        equal('%s: %s' % (written, text), code, wanted)


def http_pages(lab):
    cluster = lab.cluster(size=1)
    relay = Relay(cluster)
    opened = {relay.open('acme/g%d/d' % at, 't').id for at in range(25)}
    found, cursor = [], '0'
    while True:
        page = json.loads(cluster.nodes[1].get(
            '/v1/sessions/acme?limit=10&cursor=' + cursor)[2])
        assert len(page['sessions']) <= 10
        found += [int(one['session']) for one in page['sessions']]
        cursor = page['next']
        if cursor == '0':
            break
    equal('sessions', sorted(found), sorted(opened))


if __name__ == '__main__':
    run([bad_names, bad_leases, bad_capabilities, bad_commands,
         limits_are_named, watch_limits_are_named, command_line_refuses,
         no_figure_without_a_measurement, status_says_how_many_more,
         http_metrics, http_health, http_reads, http_names_are_as_sent, http_pages])
