"""The page of baton-sim draw, opened by a browser (chromium, if there's one; apt-get install chromium): it reads the run without an error, and
paints what is in it, of a calm run and of one that failed."""
import html
import json
import os
import re
import shutil
import subprocess
import sys

PATIENCE = 120.0
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, 'tests'))

from cases import Skip, must, run_in_folders  # noqa: E402

SIM = os.path.join(ROOT, 'build', 'bin', 'baton-sim')
CALM = 'nodes 3\nclients 2 rate 20\nsettle off\nlast 5s\n'
# Nobody is left to lead: what is expected doesn't come.
FAILING = CALM + ('at 2s crash nodes\nat 3s expect leader within 1s\n')

# In front of the page's own script, and behind it. What can be pointed at is what was painted; each view is painted and described.
WATCH = '''<script>
const errors = [];
addEventListener('error', event => { errors.push(String(event.message)); });
</script>
<script id="run"'''
TELL = '''<script>
const kinds = {};
function look(name, from, to) {
  show(from, to);
  paint();
  const arrows = hits.filter(h => h.line).length;
  const seen = hits.map(h => h.words ? h.words() : '').join('\\n');
  kinds[name] = {lanes: lanes.map(l => l.kind), arrows, seen};
}
try {
  look('whole', 0, END);
  look('second', 1e6, 1.9e6);
  folded.nodes = true; layout(); paint(); folded.nodes = false; layout();
  for (const place of Object.keys(places)) { document.getElementById('jump').value = place; jump(1); jump(-1); }
  hits.filter(h => h.record).slice(0, 50).forEach(h => tell(h.record, h.words()));
} catch (error) { errors.push(String(error)); }
const pixels = view.getContext('2d').getImageData(0, 0, view.width, view.height).data;
const colorsN = new Set(new Uint32Array(pixels.buffer)).size;
const told_ = document.createElement('pre');
told_.id = 'told';
told_.textContent = JSON.stringify({errors, kinds, colorsN, title: document.title, head: $('head').textContent, tools: $('tools').textContent,
  panel: $('panel').textContent});
document.body.append(told_);
</script>
</body>'''


def browser():
    for name in ('chromium', 'chromium-browser', 'google-chrome'):
        path = shutil.which(name)
        if path is not None:
            return path
    raise Skip('there is no chromium (apt-get install chromium)')


def opened(folder, scenario):
    """What the page of a run of it tells once it is painted."""
    program = browser()
    source = os.path.join(folder, 'x.scn')
    path = os.path.join(folder, 'x.html')
    with open(source, 'w', encoding='utf-8') as file:
        file.write(scenario)
    made = subprocess.run([SIM, 'draw', source, '-o', path],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=PATIENCE, check=False)
    with open(path, encoding='utf-8') as file:
        page = file.read()
    must(page.count('<script id="run"') == 1 and page.count('</body>') == 1,
         made.stdout)
    page = page.replace('<script id="run"', WATCH).replace('</body>', TELL)
    with open(path, 'w', encoding='utf-8') as file:
        file.write(page)
    loaded = subprocess.run(
        [program, '--headless=new', '--no-sandbox', '--disable-gpu',
         '--disable-quic', '--no-first-run', '--disable-background-networking',
         '--disable-component-update', '--disable-sync',
         '--user-data-dir=' + os.path.join(folder, 'browser'),
         '--window-size=1400,900', '--dump-dom', 'file://' + path],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False)
    found = re.findall(r'<pre id="told">(.*?)</pre>', loaded.stdout, re.DOTALL)
    must(len(found) == 1, 'the page told nothing: exit code %d, %s' % (
        loaded.returncode, loaded.stderr[-300:]))
    told = json.loads(html.unescape(found[0]))
    must(not told['errors'], 'errors: %s' % told['errors'])
    must(told['colorsN'] > 10, '%d colors' % told['colorsN'])
    return told


def whole(told):
    """What both runs show: each node, client and scope in its lane."""
    seen = told['kinds']['whole']
    for kind, n in (('node', 3), ('client', 2), ('network', 1),
                    ('traffic', 1)):
        must(seen['lanes'].count(kind) == n, '%s: %s' % (kind, seen['lanes']))
    must(seen['lanes'].count('scope') >= 2, 'scopes: %s' % seen['lanes'])
    for words in (r'node \d is leader in term \d', r'node \d is follower',
                  r'g\d(/d\d)? is held by client \d', r'believes to lead'):
        must(re.search(words, seen['seen']), words)
    second = told['kinds']['second']
    must(second['arrows'] >= 5, '%d arrows' % second['arrows'])
    must('append from node' in second['seen'], second['seen'][:500])


def calm(folder):
    told = opened(folder, CALM)
    whole(told)
    must('PASS' in told['head'] and 'pass' in told['title'], told['head'])
    must('is down' not in told['kinds']['whole']['seen'], 'nobody is down')
    must('failure' not in told['tools'], told['tools'])


def failing(folder):
    told = opened(folder, FAILING)
    whole(told)
    must('NOT LIVE' in told['head'] and 'not live' in told['title'],
         told['head'])
    seen = told['kinds']['whole']['seen']
    must(len(re.findall('node \\d is down .killed', seen)) == 3, 'three down')
    must('What failed' in seen, 'where it failed')
    must('failure' in told['tools'], told['tools'])


if __name__ == '__main__':
    sys.exit(run_in_folders(calm, failing))
