"""What a client may count on, said on the wire: commands applied once, sessions that outlive their relay, claims, state."""
import os

import wire
from lab import Relay, equal, path_of, run, until

SCOPE = 'acme/alice/laptop'


def policy(relay, namespace='acme', **fields):
    """Sets it; what isn't named takes its default."""
    message = relay.command('set_policy', {'namespace': namespace,
                                           'policy': fields})
    equal('set_policy', message.status, 'OK')


def on(cluster, node, relay, sequence, op, fields):
    """That command to that node; the answer's plain Reply."""
    stream = wire.Stream(node.client)
    try:
        message = stream.call(command={
            'lease': relay.lease, 'sequence': sequence, op: fields})
        equal('status', message.status, 'OK')
        return message.reply.plain()
    finally:
        stream.close()


def retry_is_applied_once(lab):
    cluster = lab.cluster()
    relay = Relay(cluster)
    first = cluster.leader()
    fields = {'path': path_of(SCOPE), 'tab': 'tab-1',
              'secret': os.urandom(16)}
    reply = on(cluster, first, relay, 1, 'open_session', fields)
    assert reply['id'] != 0 and reply['status'] == 'OK', reply
    equal('again', on(cluster, first, relay, 1, 'open_session', fields), reply)
    before = first.status().self.commit
    first.kill()
    second = cluster.leader()
    equal('at the new leader',
          on(cluster, second, relay, 1, 'open_session', fields), reply)
    first.start()
    cluster.leader()
    for node in cluster:
        node.kill()
    for node in cluster:
        node.start()
    equal('after a restart of all', on(
        cluster, cluster.leader(), relay, 1, 'open_session', fields), reply)
    listed = lab.sessions(cluster, 'acme')
    equal('sessions', [one['session'] for one in listed], [str(reply['id'])])
    # A sequence that is new is done, with the same fields: the name is in use.
    relay.close()
    equal('a new one', relay.command('open_session', fields,
                                     sequence=2).status, 'CONFLICT')
    assert before > 0


def sent_twice_at_once(lab):
    """Both copies are under way before either is committed."""
    cluster = lab.cluster()
    relay = Relay(cluster)
    node = cluster.leader()
    streams = [wire.Stream(node.client) for _ in range(2)]
    for sequence in range(1, 40):
        asked = [(stream, stream.send(command={
            'lease': relay.lease, 'sequence': sequence,
            'open_session': {'path': path_of(SCOPE),
                             'tab': 'tab-%d' % sequence,
                             'secret': bytes(16)}})) for stream in streams]
        one, other = [stream.next(request) for stream, request in asked]
        equal('status', one.status, 'OK')
        equal('replies', one.reply.plain(), other.reply.plain())
    equal('sessions', len(lab.sessions(cluster, 'acme')), 39)
    assert node.metrics()['baton_duplicates_total'] >= 39


def same_nonce_same_lease(lab):
    cluster = lab.cluster()
    relay = Relay(cluster)
    nonce = os.urandom(16)
    fields = {'open_lease': {'nonce': nonce, 'ttl_ms': 5000, 'label': 'r1'}}
    one = relay.ask(command=fields).reply
    cluster.leader().kill()
    other = relay.ask(command=fields).reply
    equal('lease', other.id, one.id)
    fields['open_lease']['nonce'] = os.urandom(16)
    assert relay.ask(command=fields).reply.id != one.id


def forgotten_sequences(lab):
    """Past the window a definite error, never a second time."""
    cluster = lab.cluster()
    relay = Relay(cluster)
    session = relay.open(SCOPE, 'tab-1').id
    answer = relay.ask(command={
        'lease': relay.lease, 'sequence': 2, 'first_outstanding': 2,
        'update_session': {'session': session, 'attachment': 1,
                           'capabilities': [{'key': 'BATTERY', 'value': 50}]}})
    equal('status', answer.status, 'OK')
    again = relay.command('open_session', {
        'path': path_of(SCOPE), 'tab': 'tab-2', 'secret': bytes(16)},
        sequence=1)
    equal('status', again.status, 'WINDOW')
    equal('sessions', len(lab.sessions(cluster, 'acme')), 1)


def relay_crashes(lab):
    """Its sessions attach to another relay with their secrets, and keep roles and epochs."""
    cluster = lab.cluster()
    survivor = Relay(cluster, label='survivor')
    policy(survivor, holder_grace_ms=20000, session_grace_ms=30000)
    crashed = Relay(cluster, ttl_ms=1000, label='crashed')
    secrets = [os.urandom(16) for _ in range(3)]
    sessions = [crashed.open(SCOPE, 'tab-%d' % at, secret).id
                for at, secret in enumerate(secrets)]
    before = survivor.leader(SCOPE)
    group = survivor.leader('acme/alice')
    equal('holder', before.session, sessions[0])
    crashed.close()
    until('they are detached', lambda: all(
        one['state'] == 'detached'
        for one in lab.sessions(cluster, 'acme')))
    detached = survivor.leader(SCOPE)
    equal('the holder keeps it', (detached.session, detached.epoch),
          (before.session, before.epoch))
    wrong = survivor.command('attach_session', {
        'session': sessions[0], 'secret': os.urandom(16)})
    equal('with a wrong secret', wrong.status, 'NOT_ALLOWED')
    for session, secret in zip(sessions, secrets):
        answer = survivor.command('attach_session', {
            'session': session, 'secret': secret})
        equal('attach', (answer.status, answer.reply.id), ('OK', session))
        equal('attachment', answer.reply.detail, 2)
    after = survivor.leader(SCOPE)
    equal('epoch', (after.session, after.epoch, after.lease),
          (before.session, before.epoch, survivor.lease))
    equal('of the group', survivor.leader('acme/alice').epoch, group.epoch)
    equal('states', {one['state'] for one in lab.sessions(cluster, 'acme')},
          {'attached'})
    # What the crashed one still had to say comes too late.
    late = crashed.command('close_session', {'session': sessions[0],
                                             'attachment': 1})
    assert late.status in ('EXPIRED', 'NOT_FOUND'), late
    answer = survivor.command('close_session', {'session': sessions[0],
                                                'attachment': 1})
    equal('an old attachment', answer.status, 'CONFLICT')
    assert crashed.renew().status in ('EXPIRED', 'NOT_FOUND')


def taken_from_a_live_relay(lab):
    cluster = lab.cluster()
    old, new = Relay(cluster), Relay(cluster)
    secret = os.urandom(16)
    session = old.open(SCOPE, 'tab-1', secret).id
    epoch = old.leader(SCOPE).epoch
    answer = new.command('attach_session', {'session': session,
                                            'secret': secret})
    equal('attach', answer.status, 'OK')
    refused = old.command('update_session', {
        'session': session, 'attachment': 1,
        'capabilities': [{'key': 'BATTERY', 'value': 10}]})
    assert refused.status in ('CONFLICT', 'NOT_ALLOWED'), refused
    equal('resign by the old one', old.command('resign', {
        'scope': path_of(SCOPE), 'epoch': epoch - 1}).status, 'STALE_EPOCH')
    equal('holder', (new.leader(SCOPE).session, new.leader(SCOPE).epoch),
          (session, epoch))


def drained_relay(lab):
    """A lease that is closed with `detach` leaves its sessions to be attached elsewhere."""
    cluster = lab.cluster()
    old, new = Relay(cluster), Relay(cluster)
    secret = os.urandom(16)
    session = old.open(SCOPE, 'tab-1', secret).id
    epoch = old.leader(SCOPE).epoch
    equal('close', old.command('close_lease', {'detach': True}).status, 'OK')
    until('detached', lambda: lab.sessions(cluster, 'acme')[0]['state']
          == 'detached')
    equal('attach', new.command('attach_session', {
        'session': session, 'secret': secret}).status, 'OK')
    equal('epoch', new.leader(SCOPE).epoch, epoch)
    equal('a closed lease closes the rest', new.command(
        'close_lease', {}).status, 'OK')
    until('all is gone', lambda: not lab.sessions(cluster, 'acme'))


def detached_too_long(lab):
    cluster = lab.cluster()
    relay = Relay(cluster)
    policy(relay, holder_grace_ms=200, session_grace_ms=1000)
    crashed = Relay(cluster, ttl_ms=1000)
    secret = os.urandom(16)
    session = crashed.open(SCOPE, 'tab-1', secret).id
    backup = relay.open(SCOPE, 'tab-2').id
    epoch = relay.leader(SCOPE).epoch
    crashed.close()
    now = until('the backup takes over', lambda: (
        lambda one: one if one.session == backup else None)(
            relay.leader(SCOPE)))
    assert now.epoch > epoch
    until('it is closed', lambda: len(lab.sessions(cluster, 'acme')) == 1)
    equal('attach', relay.command('attach_session', {
        'session': session, 'secret': secret}).status, 'NOT_FOUND')


def forgers_in_turn(lab):
    """Each claim replaces the other on record: what a few of them prove, the log isn't filled with."""
    cluster = lab.cluster()
    relay = Relay(cluster)
    one = relay.open(SCOPE, 'one').id
    two = relay.open(SCOPE, 'two').id
    for at in range(100):
        verdict = relay.ask(claim={'scope': path_of(SCOPE),
                                   'session': (one, two)[at % 2],
                                   'epoch': 1000}).verify
        equal('valid', verdict.valid, False)
    found = [event for event in lab.baton(cluster, 'events', 'acme', '--from', 1)
             if event['event'] == 'claim_rejected']
    assert 2 <= len(found) <= 20, len(found)


def false_claims_are_on_record(lab):
    cluster = lab.cluster()
    relay, other = Relay(cluster, label='r1'), Relay(cluster, label='r2')
    first = relay.open(SCOPE, 'tab-1').id
    second = other.open(SCOPE, 'tab-2').id
    old = relay.leader(SCOPE).epoch

    def claim(who, session, epoch):
        message = who.ask(claim={'scope': path_of(SCOPE), 'session': session,
                                 'epoch': epoch, 'lease': who.lease})
        return message.status, message.verify

    status, verdict = claim(relay, first, old)
    equal('a true claim', (status, verdict.valid), ('OK', True))
    equal('resign', relay.command('resign', {
        'scope': path_of(SCOPE), 'epoch': old}).status, 'OK')
    new = relay.leader(SCOPE).epoch
    _, stale = claim(relay, first, old)
    equal('an old claim', (stale.valid, stale.current), (False, new))
    _, forged = claim(relay, first, new)
    equal('a forged one', forged.valid, False)
    third = relay.open(SCOPE, 'tab-3').id
    equal('the holder claims', claim(other, second, new)[1].valid, True)
    _, double = claim(relay, third, new)
    equal('beside the holder', double.valid, False)
    rejected = until('all are on record', lambda: (
        lambda found: found if len(found) == 3 else None)(
            [one for one in lab.baton(cluster, 'events', 'acme', '--from', 1)
             if one['event'] == 'claim_rejected']))
    equal('causes', sorted(one['cause'] for one in rejected),
          ['double_claim', 'forged_claim', 'stale_claim'])
    for one in rejected:
        equal('both claims', len(one['claims']), 2)
        equal('relays', {claim_['relay'] for claim_ in one['claims']},
              {'r1', 'r2'})


def state_goes_with_the_baton(lab):
    """Offer, accept, yield with 64 KiB, and only the new holder reads them."""
    cluster = lab.cluster()
    old, new = Relay(cluster), Relay(cluster)
    first = old.open(SCOPE, 'tab-1').id
    second = new.open(SCOPE, 'tab-2').id
    epoch = old.leader(SCOPE).epoch
    scope = path_of(SCOPE)
    offer = old.command('handoff', {'scope': scope, 'to': second}).reply.id
    twice = new.command('handoff', {'scope': scope, 'to': second})
    equal('a second one', twice.status, 'CONFLICT')
    equal('accept', new.command('answer_offer', {
        'scope': scope, 'session': second, 'attachment': 1, 'offer': offer,
        'accept': True}).status, 'OK')
    equal('the holder holds', old.leader(SCOPE).epoch, epoch)
    state = os.urandom(65536)
    refused = old.command('yield', {
        'scope': scope, 'session': first, 'attachment': 1, 'epoch': epoch,
        'state': state + b'!'})
    equal('too much', refused.status, 'INVALID')
    done = old.command('yield', {
        'scope': scope, 'session': first, 'attachment': 1, 'epoch': epoch,
        'state': state})
    equal('yield', done.status, 'OK')
    now = new.leader(SCOPE)
    equal('holder', (now.session, now.epoch), (second, done.reply.epoch))
    cluster.leader().kill()
    answer = new.ask(get_state={'scope': scope, 'session': second,
                                'epoch': now.epoch})
    equal('state', answer.state.state == state, True)
    answer = old.ask(get_state={'scope': scope, 'session': first,
                                'epoch': epoch})
    assert answer.status != 'OK', answer.status


def renewing_costs_no_log(lab):
    cluster = lab.cluster()
    relay = Relay(cluster, ttl_ms=1000)
    for at in range(50):
        relay.open('acme/g%d/laptop' % at, 'tab')
    leader = cluster.leader()
    cluster.level()
    before = leader.status().self.log_last
    for _ in range(400):
        equal('renew', relay.renew().status, 'OK')
    after = leader.status().self.log_last
    assert leader.metrics()['baton_renewals_total'] >= 400
    # A map of who was heard goes to the log every half minute: one may fall in here.
    assert after - before <= 1, '%d entries for 400 renewals' % (
        after - before)
    equal('sessions', len(lab.sessions(cluster, 'acme')), 50)


if __name__ == '__main__':
    run([retry_is_applied_once, sent_twice_at_once, same_nonce_same_lease,
         forgotten_sequences, relay_crashes, taken_from_a_live_relay,
         drained_relay, detached_too_long, forgers_in_turn, false_claims_are_on_record,
         state_goes_with_the_baton, renewing_costs_no_log])
