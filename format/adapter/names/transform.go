package names

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

type kind uint8

const (
	kindRename kind = iota
	kindGroup       // renamings that share names, active where the first one's source exists
	kindOffset      // a renaming that shifts the number it captures
	kindConvert
)

var kinds = map[string]kind{"": kindRename, "group": kindGroup, "offset": kindOffset, "convert": kindConvert}

// A transform is one rule of the map: transformers' WeightTransform and its
// subclasses (core_model_loading.py).
type transform struct {
	key      string
	kind     kind
	from, to []string
	branches []branch
	ops      []Op
	offset   int
	active   bool // of a group: the guard was seen
	refused  string

	scoped      bool   // only names under scope, with or without base before it
	scope, base string // each with its dot, or ""
}

// A branch is one source pattern. Group 1 of the expression is the match;
// checks are the assertions that Go's expressions cannot have.
type branch struct {
	source   int
	re       *regexp.Regexp
	captures []int
	checks   []check
	needle   string // literal text of every match
	anchored bool
}

type check struct {
	group               int
	notBefore, notAfter *regexp.Regexp
}

// longestBehind is more than any assertion of the map looks back: in Python
// they have a fixed length, and the longest here has 30 characters.
const longestBehind = 128

func (s spec) compile(key string) (*transform, error) {
	t := &transform{key: key, from: s.From, to: s.To, ops: s.Ops, offset: s.Offset, refused: s.Unsupported}
	k, ok := kinds[s.Kind]
	if !ok && s.Unsupported == "" {
		return nil, fmt.Errorf("rule of kind %q", s.Kind)
	}
	t.kind = k
	for _, m := range s.Match {
		b := branch{source: m.Source, captures: m.Captures, needle: m.Needle, anchored: strings.HasPrefix(m.RE, `(\A`)}
		var err error
		if b.re, err = regexp.Compile(m.RE); err != nil {
			return nil, err
		}
		for _, c := range m.Checks {
			compiled := check{group: c.Group}
			if c.NotBefore != "" {
				compiled.notBefore, err = regexp.Compile(c.NotBefore)
			} else {
				compiled.notAfter, err = regexp.Compile(c.NotAfter)
			}
			if err != nil {
				return nil, err
			}
			b.checks = append(b.checks, compiled)
		}
		t.branches = append(t.branches, b)
	}
	return t, nil
}

// find returns the leftmost match whose checks hold, as indices of groups.
func (b *branch) find(name string) []int {
	if !strings.Contains(name, b.needle) {
		return nil
	}
	for at := 0; at <= len(name); {
		m := b.re.FindStringSubmatchIndex(name[at:])
		if m == nil {
			return nil
		}
		for i := range m {
			if m[i] >= 0 {
				m[i] += at
			}
		}
		if b.holds(name, m) {
			return m
		}
		if b.anchored {
			return nil
		}
		_, width := utf8.DecodeRuneInString(name[m[0]:])
		at = m[0] + max(width, 1)
	}
	return nil
}

func (b *branch) holds(name string, m []int) bool {
	for _, c := range b.checks {
		at := m[2*c.group]
		if c.notBefore != nil && c.notBefore.MatchString(name[at:]) || c.notAfter != nil && c.notAfter.MatchString(name[max(0, at-longestBehind):at]) {
			return false
		}
	}
	return true
}

// rename applies the rule to a name. It returns the source pattern that
// matched, -1 if none did.
func (t *transform) rename(name string) (renamed string, source int) {
	prefix, rest := "", name
	if t.scoped {
		switch {
		case strings.HasPrefix(name, t.base+t.scope):
			prefix = t.base + t.scope
		case strings.HasPrefix(name, t.scope):
			prefix = t.scope
		default:
			return name, -1
		}
		rest = name[len(prefix):]
	}
	var hit *branch
	var at []int
	for i := range t.branches {
		b := &t.branches[i]
		if m := b.find(rest); m != nil && (hit == nil || m[2] < at[2]) {
			hit, at = b, m
		}
	}
	if hit == nil {
		return name, -1
	}
	to := t.to[0]
	if t.kind == kindGroup {
		if t.active = t.active || hit.source == 0; !t.active {
			return name, -1
		}
		to = t.to[hit.source]
	}
	if strings.Contains(to, `\1`) {
		to = strings.ReplaceAll(to, `\1`, t.captured(hit, rest, at))
	}
	return prefix + strings.Replace(rest, rest[at[2]:at[3]], to, 1), hit.source
}

func (t *transform) captured(b *branch, name string, at []int) string {
	if len(b.captures) == 0 {
		return ""
	}
	g := b.captures[0]
	if at[2*g] < 0 {
		return ""
	}
	text := name[at[2*g]:at[2*g+1]]
	if t.kind == kindOffset {
		if n, err := strconv.Atoi(text); err == nil {
			return strconv.Itoa(n + t.offset)
		}
	}
	return text
}
