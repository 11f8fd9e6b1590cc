"""Tests that look at the sources with other people's tools, and at what install makes. Each returns what is wrong, as text;
empty if nothing is."""
import concurrent.futures
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile

import tidy
from tidy import catalog

ROOT = catalog.ROOT
CACHE = os.path.join(ROOT, 'build', 'clang-tidy')
STAGE = os.path.join(ROOT, 'build', 'stage')
PUBLIC = re.compile(r'baton_\w+|status_name|status_text')


def output_of(arguments, env=None):
    """What a failing command said; empty if it succeeded."""
    made = subprocess.run(arguments, cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False,
                          env=env)
    if made.returncode == 0:
        return ''
    return made.stdout or '%s: exit code %d\n' % (arguments[0],
                                                  made.returncode)


def c_files():
    return [path for path in tidy.tree() if path.endswith(('.c', '.h'))]


def clang_format():
    said = output_of(['clang-format', '--dry-run', '-Werror'] + c_files())
    places = re.findall(r'^(\S+?:\d+):\d+: error:', said, re.MULTILINE)
    if said and not places:
        return said
    files = {}
    for place in places:
        path, _, line = place.rpartition(':')
        files.setdefault(path, []).append(line)
    return ''.join('%s is not formatted at line %s (./dev fmt formats it)\n'
                   % (path, ', '.join(list(dict.fromkeys(lines))[:8]))
                   for path, lines in files.items())


def shell_files():
    found = []
    for path in tidy.tree():
        if path.endswith('.sh'):
            found.append(path)
        elif '.' not in os.path.basename(path):
            with open(os.path.join(ROOT, path), 'rb') as file:
                if re.match(rb'#!.*\b(ba)?sh\b', file.readline()):
                    found.append(path)
    return found


def shellcheck():
    return output_of(['shellcheck', '--severity=style'] + shell_files())


def pure():
    return output_of([sys.executable, 'tests/tidy.py', 'pure'])


def headers_of(path, seen):
    """The project's headers that a file includes, directly or not."""
    for root in (ROOT, os.path.join(ROOT, 'build/debug/proto')):
        full = os.path.join(root, path)
        if os.path.exists(full):
            break
    else:
        return
    if full in seen:
        return
    seen[full] = None
    with open(full, 'rb') as file:
        seen[full] = file.read()
    for name in re.findall(rb'#\s*include\s+"([^"]+)"', seen[full]):
        headers_of(name.decode(), seen)


def tidy_key(entry, settings):
    """Equal keys: clang-tidy would say the same again."""
    texts = {}
    headers_of(entry['file'], texts)
    digest = hashlib.sha256(settings)
    digest.update(entry['command'].encode())
    for path in sorted(texts):
        digest.update(path.encode() + b'\0' + texts[path])
    return digest.hexdigest()


def tidy_one(entry, settings):
    stamp = os.path.join(CACHE, tidy_key(entry, settings))
    if os.path.exists(stamp):
        os.utime(stamp)
        return ''
    made = subprocess.run(
        ['clang-tidy', '--quiet', '-p', ROOT, entry['file']], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if made.returncode == 0:
        with open(stamp, 'w', encoding='utf-8') as file:
            file.write(entry['file'] + '\n')
        return ''
    return made.stdout or made.stderr


def clang_tidy(workers):
    """Each file of ours; those that did not change since they were clean are not looked at again."""
    with open(os.path.join(ROOT, 'compile_commands.json'),
              encoding='utf-8') as file:
        entries = [entry for entry in json.load(file)
                   if not entry['file'].startswith('build/')]
    settings = b''
    for path in ('.clang-tidy', 'tests/.clang-tidy'):
        with open(os.path.join(ROOT, path), 'rb') as file:
            settings += file.read()
    settings += subprocess.run(['clang-tidy', '--version'], check=True,
                               stdout=subprocess.PIPE).stdout
    os.makedirs(CACHE, exist_ok=True)
    # The longest first, so that no worker ends alone with one of them.
    entries.sort(key=lambda entry: -os.path.getsize(
        os.path.join(ROOT, entry['file'])))
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        said = list(pool.map(lambda entry: tidy_one(entry, settings), entries))
    return once_each(said)


def once_each(said):
    """A finding in a header is told by each file that includes it."""
    seen = {}
    for text in said:
        for block in re.split(r'^(?=\S+:\d+:\d+: (?:error|warning):)', text,
                              flags=re.MULTILINE):
            first = re.sub(r'^%s/(\./)?' % re.escape(ROOT), '',
                           block.split('\n', 1)[0])
            seen.setdefault(first, block)
    return ''.join(seen.values())


def settings():
    """docs/operations.md has the table that batond prints of its settings, word for word."""
    with open(os.path.join(ROOT, 'docs/operations.md'), encoding='utf-8') as file:
        found = re.search(r'<!-- settings -->\n(.*?)<!-- /settings -->',
                          file.read(), re.DOTALL)
    printed = subprocess.run(['build/bin/batond', '--settings'], cwd=ROOT,
                             stdout=subprocess.PIPE, text=True, check=True)
    if found is None:
        return 'docs/operations.md has no <!-- settings --> part\n'
    if found.group(1).strip() != printed.stdout.strip():
        return ('docs/operations.md: what stands between its settings marks '
                'is not what build/bin/batond --settings prints\n')
    return ''


def exports():
    """What install shows to programs: one header that needs no other of ours, and libraries with all that it declares and no
    other name."""
    wrong = []
    with open(os.path.join(STAGE, 'usr/include/baton.h'),
              encoding='utf-8') as file:
        header = file.read()
    wrong += ['baton.h includes ' + name for name in re.findall(
        r'#\s*include\s+"([^"]+)"', header)]
    code = re.sub(r'/\*.*?\*/', '', header, flags=re.DOTALL)
    declared = set(re.findall(r'\b((?:baton|status)_\w+)\([^*]', code))
    for library, flags in (('libbaton.so.1', ['-D']), ('libbaton.a', ['-g'])):
        made = subprocess.run(
            ['nm', '--defined-only', '--format=posix'] + flags
            + [os.path.join(STAGE, 'usr/lib', library)],
            stdout=subprocess.PIPE, text=True, check=True)
        names = [line.split()[0] for line in made.stdout.splitlines()
                 if len(line.split()) > 2]
        wrong += ['%s shows %s' % (library, name) for name in names
                  if not PUBLIC.fullmatch(name)]
        wrong += ['%s lacks %s' % (library, name)
                  for name in sorted(declared - set(names))]
    return ''.join(line + '\n' for line in wrong)


def example(name, way):
    """Builds an example as a user of the installed library would."""
    env = dict(os.environ, PKG_CONFIG_SYSROOT_DIR=STAGE,
               PKG_CONFIG_PATH=os.path.join(STAGE, 'usr/lib/pkgconfig'),
               PKG_CONFIG_ALLOW_SYSTEM_CFLAGS='1',
               PKG_CONFIG_ALLOW_SYSTEM_LIBS='1')
    asked = ['pkg-config', '--cflags', '--libs']
    if way == 'static':
        asked.append('--static')
    found = subprocess.run(asked + ['baton'], env=env, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           check=False)
    if found.returncode != 0:
        return found.stdout
    flags = found.stdout.split()
    if way == 'static':
        flags = [flag if flag != '-lbaton' else '-l:libbaton.a'
                 for flag in flags]
    with tempfile.TemporaryDirectory(prefix='baton-test-') as folder:
        program = os.path.join(folder, name)
        said = output_of(
            ['gcc', '-std=c11', '-D_GNU_SOURCE', '-Wall', '-Wextra', '-Werror',
             '-o', program, 'client/examples/%s.c' % name] + flags)
        if said or way == 'static':
            return said
        # The program must ask for the library by the name that is installed.
        needed = subprocess.run(['readelf', '-d', program], text=True,
                                stdout=subprocess.PIPE, check=True).stdout
        return ('' if '[libbaton.so.1]' in needed
                else 'does not name libbaton.so.1\n')
