package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// An addedToken is an entry of added_tokens: text that is one token wherever
// it stands, whatever the model would make of it.
type addedToken struct {
	id         int32
	content    string
	singleWord bool // only where no letter, digit or underscore touches it
	lstrip     bool // takes the white space before it along
	rstrip     bool
	normalized bool // looked for in normalized text, in its own normalized form
	special    bool // left out of decoded text on request
}

// addedTokens are the added tokens by the ways in which they are looked up.
type addedTokens struct {
	raw, normalized matcher
	contents        map[int32]string // as they are looked for
	ids             map[string]int32
	special         map[string]bool // contents as in the file
}

func newAddedTokens(tokens []addedToken, normalize normalizer) addedTokens {
	a := addedTokens{contents: map[int32]string{}, ids: map[string]int32{}, special: map[string]bool{}}
	for _, t := range tokens {
		a.ids[t.content] = t.id
		if t.special {
			a.special[t.content] = true
		}
		content, m := t.content, &a.raw
		if t.normalized {
			m = &a.normalized
			if normalize != nil {
				content = normalize(content)
			}
		}
		a.contents[t.id] = content
		m.add(content, t)
	}
	return a
}

// A matcher finds tokens in a text: at each place, from left to right, the
// longest. It is a trie over bytes.
type matcher struct {
	tokens []addedToken
	nodes  []node // the root first
}

type node struct {
	next  map[byte]int32
	token int32 // index of the token that ends here, plus one
}

func (m *matcher) add(content string, t addedToken) {
	if content == "" {
		return
	}
	if len(m.nodes) == 0 {
		m.nodes = []node{{}}
	}
	at := int32(0)
	for i := range len(content) {
		to, ok := m.nodes[at].next[content[i]]
		if !ok {
			to = int32(len(m.nodes))
			m.nodes = append(m.nodes, node{})
			if m.nodes[at].next == nil {
				m.nodes[at].next = map[byte]int32{}
			}
			m.nodes[at].next[content[i]] = to
		}
		at = to
	}
	if m.nodes[at].token == 0 {
		m.tokens = append(m.tokens, t)
		m.nodes[at].token = int32(len(m.tokens))
	}
}

// longest returns the longest token at the start of s and where it ends, or nil.
func (m *matcher) longest(s string) (t *addedToken, end int) {
	at := int32(0)
	for i := range len(s) {
		to, ok := m.nodes[at].next[s[i]]
		if !ok {
			break
		}
		if at = to; m.nodes[at].token != 0 {
			t, end = &m.tokens[m.nodes[at].token-1], i+1
		}
	}
	return t, end
}

// split appends p to pieces, with the tokens in it as pieces of their own. A
// token within white space that the one before took along is a token still, and
// what follows it is text again, as the library has it.
func (m *matcher) split(pieces []piece, p piece) []piece {
	done := 0 // what lies before it is in pieces
	text := func(from, to int) {
		if from < to {
			pieces = append(pieces, piece{p.text[from:to], noID, p.first && from == 0})
		}
	}
	for i := 0; len(m.nodes) > 0 && i < len(p.text); {
		t, n := m.longest(p.text[i:])
		if t == nil {
			i++
			continue
		}
		start, end := i, i+n
		i = end
		if t.singleWord && (endsInWord(p.text[:start]) || startsWithWord(p.text[end:])) {
			continue
		}
		if t.lstrip {
			start = max(trimRightSpace(p.text, start), done)
		}
		if t.rstrip {
			end = skipSpace(p.text, end)
		}
		text(done, start)
		if start < end { // else all of it was taken along
			pieces = append(pieces, piece{id: t.id})
		}
		done = end
	}
	text(done, len(p.text))
	return pieces
}

// trimRightSpace returns where the white space that ends at end begins.
func trimRightSpace(s string, end int) int {
	for end > 0 {
		r, n := utf8.DecodeLastRuneInString(s[:end])
		if !isSpace(r) {
			break
		}
		end -= n
	}
	return end
}

// skipSpace returns where the white space that begins at start ends.
func skipSpace(s string, start int) int {
	for start < len(s) {
		r, n := utf8.DecodeRuneInString(s[start:])
		if !isSpace(r) {
			break
		}
		start += n
	}
	return start
}

// isSpace is White_Space of Unicode, which the library's \s means too.
func isSpace(r rune) bool { return unicode.IsSpace(r) }

// isWord is \w of UTS #18: letters, marks, digits, connectors and joiners.
func isWord(r rune) bool {
	return unicode.In(r, unicode.L, unicode.M, unicode.Nd, unicode.Pc, unicode.Nl, unicode.Other_Alphabetic, unicode.Join_Control)
}

func endsInWord(s string) bool {
	r, _ := utf8.DecodeLastRuneInString(s)
	return s != "" && isWord(r)
}

func startsWithWord(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return s != "" && isWord(r)
}
