"""Batons among tabs and devices, as the command line shows them: who gets one, how it moves, and who is refused."""
import json
import os
import signal
import time

from lab import Relay, equal, path_of, run, until

# Quick enough for a test; the margin and the weights stay as they are by default.
QUICK = {'min_tenure_ms': 100, 'holder_grace_ms': 100,
         'session_grace_ms': 1000, 'cooldown_ms': 1000}
STRONG = 'kind=desktop,network=ethernet,charging=1,visible=1'
WEAK = 'kind=phone,network=3g,charging=0,visible=0'


def quick(lab, cluster, namespace='acme'):
    lab.baton(cluster, 'policy', 'set', namespace, '-',
              stdin=json.dumps(QUICK))


def holder(lab, cluster, *scope):
    return lab.baton(cluster, 'leader', *scope)


def elected_by_capability(lab):
    cluster = lab.cluster()
    weak = lab.session(cluster, 'acme/alice', 'phone', 'tab-1', '--cap', WEAK)
    equal('alone', holder(lab, cluster, 'acme/alice')['session'], weak.id)
    quick(lab, cluster)
    better = lab.session(cluster, 'acme/alice', 'phone', 'tab-2', '--cap',
                         'kind=phone,visible=1,charging=1')
    best = lab.session(cluster, 'acme/alice', 'desk', 'tab-3', '--cap', STRONG)
    better.wait(role='leader', scope='acme/alice/phone')
    won = best.wait(role='leader', scope='acme/alice')
    best.wait(role='leader', scope='acme/alice/desk')
    weak.wait(event='lost', scope='acme/alice/phone')
    found = until('the desk leads, the phone is next', lambda: (
        lambda one: one if one['backup'] == better.id else None)(
            holder(lab, cluster, 'acme/alice')))
    equal('scope', found['scope'], 'acme/alice')
    equal('holder', (found['session'], found['device'], found['tab']),
          (best.id, 'desk', 'tab-3'))
    equal('epoch', found['epoch'], won['epoch'])
    equal('consistency', found['consistency'], 'linearizable')
    listed = {one['session']: one for one in lab.sessions(cluster, 'acme')}
    equal('roles', [listed[one.id]['role'] for one in (weak, better, best)],
          ['backup', 'leader', 'leader'])
    equal('state', listed[best.id]['state'], 'attached')
    equal('group', listed[best.id]['group'], 'acme/alice')


def explained(lab):
    cluster = lab.cluster()
    strong = lab.session(cluster, 'acme/alice', 'desk', 'tab-1', '--cap',
                         STRONG)
    weak = lab.session(cluster, 'acme/alice', 'desk', 'tab-2', '--cap', WEAK)
    observer = lab.session(cluster, 'acme/alice', 'desk', 'tab-3',
                           '--observer')
    found = lab.baton(cluster, 'explain', 'acme/alice', 'desk')
    equal('scope', found['scope'], 'acme/alice/desk')
    equal('reason', found['reason'], 'first')
    equal('epoch', found['epoch'],
          holder(lab, cluster, 'acme/alice', 'desk')['epoch'])
    candidates = {one['session']: one for one in found['candidates']}
    for session in (strong, weak):
        one = candidates[session.id]
        equal('score', one['score'],
              sum(part['points'] for part in one['parts']))
    assert candidates[strong.id]['score'] > candidates[weak.id]['score']
    equal('observer', observer.wait(event='opened')['role'], 'observer')
    equal('its role', {one['session']: one['role'] for one in lab.sessions(
        cluster, 'acme')}[observer.id], 'observer')


def leader_tab_dies(lab):
    cluster = lab.cluster()
    quick(lab, cluster)
    first = lab.session(cluster, 'acme/alice', 'laptop', 'tab-1',
                        '--ttl', '1s')
    first.wait(role='leader', scope='acme/alice')
    second = lab.session(cluster, 'acme/alice', 'laptop', 'tab-2')
    other = lab.session(cluster, 'acme/alice', 'phone', 'tab-3')
    second.wait(role='backup', scope='acme/alice/laptop')
    old = holder(lab, cluster, 'acme/alice', 'laptop')
    killed = time.monotonic()
    first.kill()
    second.wait(role='leader', scope='acme/alice/laptop')
    moved = second.find(role='leader', scope='acme/alice/laptop')[0] - killed
    # The last renewal was sent up to a third of the TTL before; the lease ends by the TTL and a little drift behind the last one,
    # then comes the holder's grace of 100 ms. The rest is for a busy machine.
    assert 0.5 < moved < 1.0 * 1.02 + 0.1 + 0.75, 'moved after %.2f s' % moved
    new = holder(lab, cluster, 'acme/alice', 'laptop')
    equal('holder', new['session'], second.id)
    assert int(new['epoch']) > int(old['epoch'])
    equal('group', holder(lab, cluster, 'acme/alice')['session'], second.id)
    lab.baton(cluster, 'verify', 'acme/alice', 'laptop', old['epoch'], code=4)
    until('the dead session is closed', lambda: first.id not in [
        one['session'] for one in lab.sessions(cluster, 'acme')])
    assert other.find(role='leader', scope='acme/alice') is None


def leader_device_dies(lab):
    cluster = lab.cluster()
    quick(lab, cluster)
    laptop = lab.session(cluster, 'acme/alice', 'laptop', 'tab-1',
                         '--ttl', '1s', '--cap', STRONG)
    phone = lab.session(cluster, 'acme/alice', 'phone', 'tab-1',
                        '--cap', WEAK)
    before = laptop.wait(role='leader', scope='acme/alice')
    laptop.kill()
    after = phone.wait(role='leader', scope='acme/alice')
    assert int(after['epoch']) > int(before['epoch'])
    lab.baton(cluster, 'leader', 'acme/alice', 'laptop', code=2)


def closing_passes_on_at_once(lab):
    cluster = lab.cluster()
    first = lab.session(cluster, 'acme/alice', 'laptop', 'tab-1')
    first.wait(role='leader', scope='acme/alice')
    second = lab.session(cluster, 'acme/alice', 'laptop', 'tab-2')
    asked = time.monotonic()
    first.process.signal(signal.SIGTERM)
    equal('exit code', first.process.ended(), 0)
    second.wait(role='leader', scope='acme/alice')
    moved = second.find(role='leader', scope='acme/alice')[0] - asked
    assert moved < 1.0, 'a session that closes takes %.2f s' % moved
    first.wait(event='closed')
    second.process.signal(signal.SIGINT)
    equal('exit code', second.process.ended(), 0)
    lab.baton(cluster, 'leader', 'acme/alice', code=2)


def handed_off(lab):
    cluster = lab.cluster()
    first = lab.session(cluster, 'acme/alice', 'laptop', 'tab-1')
    old = first.wait(role='leader', scope='acme/alice/laptop')['epoch']
    second = lab.session(cluster, 'acme/alice', 'laptop', 'tab-2')
    lab.baton(cluster, 'verify', 'acme/alice', 'laptop', old)
    done = lab.baton(cluster, 'handoff', 'acme/alice', 'laptop', '--to',
                     second.id)
    equal('hand-off', (done['scope'], done['from'], done['to']),
          ('acme/alice/laptop', first.id, second.id))
    assert int(done['epoch']) > int(old)
    first.wait(event='lost', scope='acme/alice/laptop')
    equal('epoch', second.wait(role='leader', scope='acme/alice/laptop')[
        'epoch'], done['epoch'])
    stale = lab.baton(cluster, 'verify', 'acme/alice', 'laptop', old, code=4)
    equal('verify', (stale['current'], stale['epoch'], stale['valid']),
          (done['epoch'], old, False))
    good = lab.baton(cluster, 'verify', 'acme/alice', 'laptop', done['epoch'])
    equal('verify', good['valid'], True)
    refused = lab.baton(cluster, 'resign', 'acme/alice', 'laptop', old, code=4)
    equal('error', refused['error'], 'STALE_EPOCH')
    equal('holder', holder(lab, cluster, 'acme/alice', 'laptop')['session'],
          second.id)
    lab.baton(cluster, 'handoff', 'acme/alice', 'laptop', '--to', '999999',
              code=2)


def verified_when_nobody_is_left(lab):
    """Of a scope that is vacant or gone no epoch is the current one: an answer, not a refusal. So it is with claims."""
    cluster = lab.cluster(size=1)
    only = lab.session(cluster, 'acme/alice', 'laptop', 'tab-1')
    epoch = only.wait(role='leader', scope='acme/alice')['epoch']
    lab.baton(cluster, 'verify', 'acme/alice', epoch)
    only.process.signal(signal.SIGTERM)
    equal('exit code', only.process.ended(), 0)
    relay = Relay(cluster)
    for scope in (['acme/alice'], ['acme/alice', 'laptop'], ['none/such']):
        for more in ([], ['--stale']):
            found = lab.baton(cluster, 'verify', *scope, epoch, *more, code=4)
            found = found[0] if isinstance(found, list) else found
            equal('verify %r' % scope, (found['current'], found['epoch'],
                                        found['valid'], found['holder']),
                  ('0', epoch, False, '0'))
        said, _ = lab.plain(cluster, 'verify', *scope, epoch, code=4)
        assert 'current 0' in said, said
        made = relay.ask(claim={
            'scope': path_of('/'.join(scope)), 'session': int(only.id),
            'epoch': int(epoch), 'lease': relay.lease})
        equal('claim', (made.status, made.verify.valid, made.verify.current),
              ('OK', False, 0))


def handed_to_another_device(lab):
    cluster = lab.cluster()
    laptop = lab.session(cluster, 'acme/alice', 'laptop', 'tab-1')
    phone = lab.session(cluster, 'acme/alice', 'phone', 'tab-1', '--cap', WEAK)
    old = laptop.wait(role='leader', scope='acme/alice')['epoch']
    done = lab.baton(cluster, 'handoff', 'acme/alice', '--to', phone.id)
    equal('hand-off', (done['scope'], done['to']), ('acme/alice', phone.id))
    assert int(done['epoch']) > int(old)
    equal('the laptop keeps its own', holder(
        lab, cluster, 'acme/alice', 'laptop')['session'], laptop.id)


def resigned_and_demoted(lab):
    cluster = lab.cluster()
    first = lab.session(cluster, 'acme/alice', 'laptop', 'tab-1')
    second = lab.session(cluster, 'acme/alice', 'laptop', 'tab-2')
    epoch = first.wait(role='leader', scope='acme/alice/laptop')['epoch']
    resigned = lab.baton(cluster, 'resign', 'acme/alice', 'laptop', epoch)
    equal('scope', resigned['scope'], 'acme/alice/laptop')
    second.wait(role='leader', scope='acme/alice/laptop')
    now = holder(lab, cluster, 'acme/alice', 'laptop')
    equal('reason', (now['session'], now['reason']), (second.id, 'resigned'))
    # The first one cools down and nobody else is there: never to nobody.
    lab.baton(cluster, 'demote', 'acme/alice', 'laptop', '--reason', 'slow',
              code=4)
    third = lab.session(cluster, 'acme/alice', 'laptop', 'tab-3')
    demoted = lab.baton(cluster, 'demote', 'acme/alice', 'laptop', '--reason',
                        'it is slow')
    equal('scope', demoted['scope'], 'acme/alice/laptop')
    third.wait(role='leader', scope='acme/alice/laptop')
    events = lab.baton(cluster, 'events', 'acme/alice', '--from', epoch)
    texts = [one['text'] for one in events if one['event'] == 'demoted']
    equal('on record', texts, ['it is slow'])


def policies(lab):
    cluster = lab.cluster()
    set_ = ('policy', 'set', 'acme', '-')
    for policy, names in (
            ({'margin': 0, 'unknown_field': 1}, ['unknown_field']),
            ({'margin': 'much'}, ['margin']),
            ({'min_tenure_ms': 1}, ['min_tenure_ms', '100']),
            ({'weights': {'battery': 1001}}, ['battery', '1000']),
            ({'weights': {'fame': 1}}, ['fame']),
            ({'holder_grace_ms': 9000, 'session_grace_ms': 8000},
             ['holder_grace_ms'])):
        refused = lab.baton(cluster, *set_, stdin=json.dumps(policy), code=4)
        for name in names:
            assert name in refused['message'].replace(',', ''), \
                '%r is refused without %s: %s' % (policy, name, refused)
    lab.baton(cluster, *set_, stdin=json.dumps(
        {'margin': 7, 'weights': {'battery': -30}}))
    found = lab.baton(cluster, 'policy', 'get', 'acme')
    equal('margin', found['margin'], 7)
    equal('weights', found['weights']['battery'], -30)
    equal('default', found['min_tenure_ms'], 10000)
    # What `get` prints, `set` takes.
    lab.baton(cluster, *set_, stdin=json.dumps(found))


# --- elect --------------------------------------------------------------------------------------------------------------------

def elect_passes_the_exit_code(lab):
    cluster = lab.cluster()
    out = os.path.join(lab.folder, 'out')
    runner = lab.background(cluster, 'elect', 'jobs/nightly', '--', 'sh', '-c',
                            'echo $BATON_SCOPE $BATON_EPOCH >%s; exit 7' % out)
    equal('exit code', runner.process.ended(), 7)
    with open(out, encoding='utf-8') as file:
        scope, epoch = file.read().split()
    equal('scope', scope, 'jobs/nightly')
    assert int(epoch) > 0
    missing = lab.background(cluster, 'elect', 'jobs/nightly', '--',
                             '/no/such/program')
    equal('exit code', missing.process.ended(), 127)
    folder = lab.background(cluster, 'elect', 'jobs/nightly', '--', '/')
    equal('exit code', folder.process.ended(), 126)


def elect_hands_over_its_words(lab):
    """COMMAND has its own arguments, each once, also those that look like options of baton's."""
    cluster = lab.cluster(size=1)
    out = os.path.join(lab.folder, 'out')
    show = ['sh', '-c', 'printf "<%%s>" "$@" >%s' % out, 'sh']
    words = ['a', '--json', '--', '--endpoints', 'x']
    runner = lab.background(cluster, 'elect', 'jobs/words', '--', *show,
                            *words)
    equal('exit code', runner.process.ended(), 0)
    with open(out, encoding='utf-8') as file:
        equal('arguments', file.read(), ''.join('<%s>' % one for one in words))


# Writes that it runs, and its own pid; takes its time to stop on SIGTERM, and writes that it did.
# Beside it in its group, in a session of its own, and left behind by its parent: three more, whose pids it writes.
WORKER = '''sleep 1000 & kin=$!
setsid -f sh -c 'echo $$ >%(out)s.%(name)s; exec sleep 1000'
while ! test -s %(out)s.%(name)s; do sleep 0.01; done
(sh -c 'echo $$ >%(out)s.%(name)s.left; exec sleep 1000' &)
while ! test -s %(out)s.%(name)s.left; do sleep 0.01; done
echo $kin >>%(out)s.%(name)s
cat %(out)s.%(name)s.left >>%(out)s.%(name)s
trap 'sleep 0.3; echo "%(name)s stops" >>%(out)s; exit 9' TERM
echo "%(name)s runs $$ $BATON_EPOCH" >>%(out)s
while :; do sleep 0.02; done'''


def elect(lab, cluster, out, name, *more):
    return lab.background(
        cluster, 'elect', 'acme/job', '--tab', name, *more, '--', 'sh', '-c',
        WORKER % {'name': name, 'out': out})


def lines_of(path):
    if not os.path.exists(path):
        return []
    with open(path, encoding='utf-8') as file:
        return file.read().splitlines()


def runs(out, name):
    """(pid, epoch) once that worker runs."""
    def there():
        return [line.split() for line in lines_of(out)
                if line.startswith(name + ' runs')]
    words = until('%s runs' % name, there)[-1]
    return int(words[2]), int(words[3])


def kin(out, name):
    """The pids of what it started."""
    found = [int(line) for line in lines_of('%s.%s' % (out, name))]
    equal('started', len(found), 3)
    return found


def alive(pid):
    try:
        with open('/proc/%d/stat' % pid, encoding='utf-8') as file:
            return file.read().rsplit(')', 1)[1].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def elect_after_kill(lab):
    cluster = lab.cluster()
    quick(lab, cluster)
    out = os.path.join(lab.folder, 'out')
    first = elect(lab, cluster, out, 'one', '--ttl', '1s')
    pid, epoch = runs(out, 'one')
    second = elect(lab, cluster, out, 'two', '--ttl', '1s')
    until('both campaign', lambda: len(lab.sessions(cluster, 'acme')) == 2)
    equal('only the first runs', len(lines_of(out)), 1)
    started = kin(out, 'one')
    assert all(alive(one) for one in started)
    first.kill()
    _, later = runs(out, 'two')
    assert not alive(pid), 'the first command still runs beside the second'
    equal('of the first one runs on', [one for one in started if alive(one)],
          [])
    assert later > epoch
    started = kin(out, 'two')
    second.process.signal(signal.SIGTERM)
    equal('exit code', second.process.ended(), 9)
    equal('it left behind', [one for one in started if alive(one)], [])


def elect_while_stopped(lab):
    """SIGSTOP: it can neither renew its lease nor stop its command, which ends all the same before somebody else's begins."""
    cluster = lab.cluster()
    quick(lab, cluster)
    out = os.path.join(lab.folder, 'out')
    first = elect(lab, cluster, out, 'one', '--ttl', '2s')
    pid, epoch = runs(out, 'one')
    started = kin(out, 'one')
    second = elect(lab, cluster, out, 'two', '--ttl', '2s')
    until('both campaign', lambda: len(lab.sessions(cluster, 'acme')) == 2)
    first.process.signal(signal.SIGSTOP)
    _, later = runs(out, 'two')
    equal('of the first one runs on',
          [one for one in [pid] + started if alive(one)], [])
    assert later > epoch
    # It was asked to stop in good time.
    assert 'one stops' in lines_of(out), lines_of(out)
    first.process.signal(signal.SIGCONT)
    equal('exit code', first.process.ended(), 9)
    second.process.signal(signal.SIGTERM)
    equal('exit code', second.process.ended(), 9)


def elect_without_its_guard(lab):
    """Whoever kills the guard ends COMMAND, with all that it started: those come to elect."""
    cluster = lab.cluster()
    out = os.path.join(lab.folder, 'out')
    first = elect(lab, cluster, out, 'one')
    pid, _ = runs(out, 'one')
    started = kin(out, 'one')
    with open('/proc/%d/stat' % pid, encoding='utf-8') as file:
        guard = int(file.read().rsplit(')', 1)[1].split()[1])
    assert guard != first.process.pid
    os.kill(guard, signal.SIGKILL)
    equal('exit code', first.process.ended(), 137)
    equal('it left behind',
          [one for one in [pid] + started if alive(one)], [])


def elect_loses_by_handoff(lab):
    cluster = lab.cluster()
    out = os.path.join(lab.folder, 'out')
    first = elect(lab, cluster, out, 'one')
    pid, epoch = runs(out, 'one')
    second = elect(lab, cluster, out, 'two')
    until('both campaign', lambda: len(lab.sessions(cluster, 'acme')) == 2)
    tabs = {one['tab']: one['session']
            for one in lab.sessions(cluster, 'acme/job')}
    device = lab.sessions(cluster, 'acme/job')[0]['device']
    asked = time.monotonic()
    lab.baton(cluster, 'handoff', 'acme/job', device, '--to', tabs['two'])
    _, later = runs(out, 'two')
    took = time.monotonic() - asked
    assert later > epoch
    assert not alive(pid), 'the first command still runs beside the second'
    equal('exit code', first.process.ended(), 9)
    equal('in order', [' '.join(line.split()[:2]) for line in lines_of(out)],
          ['one runs', 'one stops', 'two runs'])
    assert took < 2.5, 'it waited for the deadline to hand over: %.1f s' % took
    second.process.signal(signal.SIGTERM)
    equal('exit code', second.process.ended(), 9)


def elect_without_a_cluster(lab):
    """Nobody acknowledges its renewals: the command ends before its right to lead does, well before it could start elsewhere."""
    cluster = lab.cluster()
    out = os.path.join(lab.folder, 'out')
    elect(lab, cluster, out, 'one', '--ttl', '1s')
    pid, _ = runs(out, 'one')
    for node in cluster:
        node.kill()
    cut = time.monotonic()
    until('the command has ended', lambda: not alive(pid))
    took = time.monotonic() - cut
    assert took < 1.1, 'it ran for %.2f s more, with a TTL of 1 s' % took


if __name__ == '__main__':
    run([elected_by_capability, explained, leader_tab_dies,
         leader_device_dies, closing_passes_on_at_once, handed_off,
         verified_when_nobody_is_left,
         handed_to_another_device, resigned_and_demoted, policies,
         elect_passes_the_exit_code, elect_hands_over_its_words,
         elect_after_kill, elect_while_stopped, elect_without_its_guard,
         elect_loses_by_handoff,
         elect_without_a_cluster])
