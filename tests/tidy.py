#!/usr/bin/env python3
"""Rules of the house that compilers don't check (STYLE, DESIGN section 2). Each rule is a function below.

    tests/tidy.py        every rule on the sources
    tests/tidy.py pure   that the pure folders' release libraries are pure; the build calls it

A line that has to break a rule says so in a comment on it: "tidy: RULE, because ..."."""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.append(os.path.join(ROOT, 'site_scons'))
import catalog  # noqa: E402

LINES_MAX = 700

# The store is the part of raft/ that isn't pure, and only the shell knows it.
STORE = re.compile(r'raft/store\w*\.[ch]$')
STORE_USERS = ('raft/store', 'node/', 'sim/', 'tests/')

# Pure folders, each after those whose names it may use.
PURE_FOLDERS = ('proto', 'raft', 'session')
PURE_SKIP = {'raft': re.compile(r'^store')}

# All that a pure object may need from elsewhere: bytes, text into a given buffer, one-shot hashes, the constant that a
# message's empty strings point to, and what the compiler puts in by itself.
PURE_NAMES = re.compile(r'''
    mem(cpy|move|set|cmp) | strlen | v?snprintf
  | __(mem(cpy|move|set)|v?snprintf)_chk | __stack_chk_fail
  | XXH(32|64|128|3_64bits|3_128bits)(_with(Seed|Secret))?
  | __(popcount|clz|ctz)[ds]i2 | __u?(div|mod|divmod|mul)ti[34]
  | protobuf_c_empty_string | _GLOBAL_OFFSET_TABLE_ | assert_failed
''', re.VERBOSE)
# protoc-c's code asserts that a message is of the type it says.
PURE_NAMES_OF = {'proto': re.compile(r'protobuf_c_\w+|__assert_fail')}
MUTABLE = re.compile(r'^(\.data(?!\.rel\.ro)|\.bss|\.tdata|\.tbss|\*COM\*)')

BANNED = {
    'strcpy': 'snprintf', 'strcat': 'snprintf', 'strncpy': 'memcpy',
    'strncat': 'snprintf', 'sprintf': 'snprintf', 'vsprintf': 'vsnprintf',
    'gets': 'fgets', 'atoi': 'strtoll', 'atol': 'strtoll', 'atoll': 'strtoll',
    'atof': 'strtod', 'strtok': 'strtok_r', 'tmpnam': 'mkstemp',
    'mktemp': 'mkstemp', 'tempnam': 'mkstemp', 'alloca': 'a buffer of a size',
    'rand': 'a seed that is passed in', 'srand': 'a seed that is passed in',
    'gethostbyname': 'getaddrinfo',
    'setjmp': 'a return value', 'longjmp': 'a return value',
}
BANNED_CALL = re.compile(r'(?<![\w.>])(%s)\s*\(' % '|'.join(BANNED))
SLEEP_C = re.compile(r'(?<![\w.>])(sleep|usleep|nanosleep|clock_nanosleep|'
                     r'thrd_sleep|nng_msleep)\s*\(')
SLEEP_PYTHON = re.compile(r'\btime\.sleep\s*\(|\bfrom time import.*\bsleep\b')

UNFINISHED = re.compile(r'\b(TODO|FIXME|XXX|HACK)\b')
# What belongs to one machine, or to nobody's tree.
FOREIGN = re.compile(r'(?<![\w.])/(work|root|home/\w+)/|\bas an AI\b|'
                     r'\blanguage model\b', re.IGNORECASE)


def tree():
    """Paths of the project's files, from the root. Not what is built or ignored."""
    skip = {'.git', 'build', '.baton', '__pycache__', 'node_modules',
            'corpus'}
    found = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(name for name in folders if name not in skip)
        found += [os.path.relpath(os.path.join(folder, name), ROOT)
                  for name in sorted(files)]
    return [path for path in found if path != 'compile_commands.json']


class Source:
    """One file's text. `code` is C without comments and what strings say."""

    def __init__(self, path):
        self.path = path
        with open(os.path.join(ROOT, path), 'rb') as file:
            self.raw = file.read()
        self.lines = self.raw.decode('utf-8', 'replace').split('\n')
        self.is_c = path.endswith(('.c', '.h'))
        self._code = None

    @property
    def code(self):
        if self._code is None:
            pattern = re.compile(
                r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'',
                re.DOTALL)
            text = pattern.sub(self._blank, '\n'.join(self.lines))
            self._code = text.split('\n')
        return self._code

    @staticmethod
    def _blank(found):
        text = found.group(0)
        if text[0] in '"\'':
            return text[0] * 2
        return '\n' * text.count('\n')

    def excused(self, number, rule):
        return 'tidy: %s, because' % rule in self.lines[number - 1]


def text_sources(paths):
    ends = ('.c', '.h', '.py', '.sh', '.md', '.proto', '.txt', '.ts', '.js',
            '.html', '.css', '.json', '.conf', '.supp', 'SConstruct',
            'SConscript', 'dev', 'run', '.clang-tidy', '.clang-format')
    return [Source(path) for path in paths if path.endswith(ends)]


def rule_text(sources):
    """UTF-8, line feeds, no tab or space at the end, a newline at the end."""
    for source in sources:
        script_case = source.path.startswith('tests/script/')
        try:
            source.raw.decode('utf-8')
        except UnicodeDecodeError as error:
            yield source.path, 1, 'is not UTF-8: %s' % error
        if source.raw and not source.raw.endswith(b'\n'):
            yield source.path, len(source.lines), 'has no newline at its end'
        for number, line in enumerate(source.lines, 1):
            if line.endswith('\r'):
                yield source.path, number, 'ends in a carriage return'
            elif line != line.rstrip() and not script_case:
                yield source.path, number, 'has blanks at its end'
            elif source.is_c and '\t' in line:
                yield source.path, number, 'has a tab'


def rule_length(sources):
    """A file fits in the head."""
    for source in sources:
        if (source.path.endswith(('.c', '.h', '.py', '.ts', '.sh', 'dev'))
                and len(source.lines) - 1 > LINES_MAX):
            yield (source.path, LINES_MAX, 'has %d lines, more than %d'
                   % (len(source.lines) - 1, LINES_MAX))


def rule_guards(sources):
    """#ifndef FOLDER_FILE_H, so that no two headers share one."""
    for source in sources:
        if not source.path.endswith('.h'):
            continue
        name = re.sub(r'\W', '_', source.path).upper()
        names = [name, 'BATON_H'] if source.path == 'client/baton.h' else [name]
        text = '\n'.join(source.code)
        if not any(re.match(r'\s*#ifndef %s\n#define %s\n' % (n, n), text)
                   and text.rstrip().endswith('#endif') for n in names):
            yield source.path, 1, 'has no guard %s' % names[0]


def rule_includes(sources):
    """Includes point one way, from the root, to what is there."""
    for source in sources:
        folder = source.path.split('/')[0]
        if not source.is_c or folder not in catalog.USES:
            continue
        for number, line in enumerate(source.lines, 1):
            found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not found or source.excused(number, 'includes'):
                continue
            path = found.group(1)
            owner = path.split('/')[0]
            generated = owner == 'baton' and path.endswith('.pb-c.h')
            if generated:
                path = 'proto/' + path[:-len('.pb-c.h')] + '.proto'
                owner = 'proto'
            if not os.path.exists(os.path.join(ROOT, path)):
                yield (source.path, number, 'includes %s, which is not there '
                       '(paths start at the root)' % path)
            elif owner not in [folder] + catalog.USES[folder]:
                yield (source.path, number, 'includes %s: %s/ may use %s only'
                       % (path, folder, ', '.join(catalog.USES[folder])))
            elif STORE.match(path) and not source.path.startswith(STORE_USERS):
                yield (source.path, number,
                       'includes %s, which only the shell knows' % path)


def rule_banned(sources):
    """Functions that have a better one."""
    for source in sources:
        if not source.is_c:
            continue
        # cmocka.h asks for <setjmp.h>, and that is all.
        for number, line in enumerate(source.code, 1):
            for found in BANNED_CALL.finditer(line):
                if not source.excused(number, 'banned'):
                    name = found.group(1)
                    yield (source.path, number, 'calls %s: use %s'
                           % (name, BANNED[name]))


def rule_sleeps(sources):
    """Tests wait for a condition, with a deadline. The one place that sleeps between two looks is a helper's loop."""
    for source in sources:
        if not source.path.startswith('tests/'):
            continue
        if source.is_c:
            lines, pattern = source.code, SLEEP_C
        elif source.path.endswith('_test.py'):
            lines, pattern = source.lines, SLEEP_PYTHON
        else:
            continue
        for number, line in enumerate(lines, 1):
            if pattern.search(line) and not source.excused(number, 'sleeps'):
                yield (source.path, number,
                       'sleeps: wait for a condition with a deadline')


def rule_words(sources):
    """Nothing unfinished, and nothing of one machine."""
    for source in sources:
        if source.path in ('tests/tidy.py', 'LICENSE'):
            continue
        for number, line in enumerate(source.lines, 1):
            found = UNFINISHED.search(line) or FOREIGN.search(line)
            if found and not source.excused(number, 'words'):
                yield source.path, number, 'says "%s"' % found.group(0)


def anchors(path):
    """The names that GitHub gives to a page's headings."""
    names = set()
    with open(path, encoding='utf-8') as file:
        for line in file:
            found = re.match(r'#+\s+(.*)', line)
            if found:
                text = re.sub(r'[^\w\- ]', '', found.group(1).strip().lower())
                names.add(text.replace(' ', '-'))
    return names


def rule_links(sources):
    """Links in pages lead to a file and a heading that are there."""
    for source in sources:
        if not source.path.endswith('.md'):
            continue
        fenced = False
        for number, line in enumerate(source.lines, 1):
            if line.lstrip().startswith('```'):
                fenced = not fenced
            if fenced:
                continue
            for target in re.findall(r'\]\(([^)\s]+)(?:\s+"[^"]*")?\)', line):
                if re.match(r'[a-z]+:', target):
                    continue
                path, _, anchor = target.partition('#')
                full = os.path.normpath(os.path.join(
                    ROOT, os.path.dirname(source.path),
                    path or os.path.basename(source.path)))
                if not os.path.exists(full):
                    yield source.path, number, 'links to %s: no such file' % target
                elif (anchor and full.endswith('.md')
                      and anchor not in anchors(full)):
                    yield source.path, number, 'links to %s: no such heading' % target


def symbols(archive):
    """(member, name, section) of each symbol; section *UND* if it is needed, None for a name that others may use."""
    made = subprocess.run(['nm', '-A', '--format=sysv', archive],
                          stdout=subprocess.PIPE, check=True, text=True)
    for line in made.stdout.splitlines():
        columns = line.split('|')
        if len(columns) != 7:
            continue
        where, _, name = columns[0].rpartition(':')
        yield (where.rpartition(':')[2], name.strip(), columns[2].strip(),
               columns[6].strip())


def impurities(build):
    """Objects of the pure folders that need, or keep, what they may not."""
    known = set()
    for folder in PURE_FOLDERS:
        archive = os.path.join(build, folder, 'lib%s.a' % folder)
        if not os.path.exists(archive):
            continue
        skip = PURE_SKIP.get(folder)
        entries = [entry for entry in symbols(archive)
                   if not (skip and skip.match(entry[0]))]
        known.update(name for _, name, kind, section in entries
                     if kind.isupper() and section != '*UND*')
        extra = PURE_NAMES_OF.get(folder)
        for member, name, kind, section in entries:
            if section == '*UND*' or kind in 'Uw':
                if not (name in known or PURE_NAMES.fullmatch(name)
                        or (extra and extra.fullmatch(name))):
                    yield '%s/%s needs %s' % (folder, member, name)
            elif MUTABLE.match(section):
                yield ('%s/%s keeps %s, which can change, in %s'
                       % (folder, member, name, section))


def pure():
    found = list(impurities(os.path.join(ROOT, 'build', 'release')))
    for line in found:
        print('not pure: ' + line)
    return 1 if found else 0


RULES = (rule_text, rule_length, rule_guards, rule_includes, rule_banned,
         rule_sleeps, rule_words, rule_links)


def main():
    if sys.argv[1:] == ['pure']:
        return pure()
    sources = text_sources(tree())
    failed = False
    for rule in RULES:
        name = rule.__name__[len('rule_'):]
        found = list(rule(sources))
        failed = failed or bool(found)
        print('%s %s%s' % ('not ok' if found else 'ok', name,
                           ': %d found' % len(found) if found else ''))
        for path, number, text in found:
            print('  %s:%d %s' % (path, number, text))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
