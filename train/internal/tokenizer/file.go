package tokenizer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/internal/strictjson"
)

type value = strictjson.Value

// Limits of a file. The largest vocabularies in use have 262,144 tokens and
// their files 33 MB.
const (
	maxFile     = 128 << 20
	maxToken    = 4096    // bytes of a token
	maxID       = 1 << 24 // of a token
	maxEntries  = 1 << 21 // of the vocabulary, and of the merges
	maxTemplate = 64      // entries of a post-processor's template
)

// Open reads the tokenizer.json at path.
func Open(path string) (*Tokenizer, error) {
	data, err := safetensors.ReadRegular(path, maxFile)
	if err != nil {
		return nil, err
	}
	t, err := Read(data)
	if e, ok := errors.AsType[*rule.Error](err); ok {
		e.File = path
	}
	if e, ok := errors.AsType[*rule.Unsupported](err); ok {
		e.File = path
	}
	return t, err
}

// Read reads the content of a tokenizer.json. Errors are *rule.Error for a
// broken file and *rule.Unsupported for parts that are not known.
func Read(data []byte) (*Tokenizer, error) {
	if len(data) > maxFile {
		return nil, &rule.Unsupported{What: fmt.Sprintf("tokenizer of more than %d bytes", maxFile)}
	}
	p := &parser{src: string(data)}
	if err := p.read(); err != nil {
		return nil, err
	}
	t := p.tokenizer()
	return t, p.err
}

// A parser reads one file. The first fault is kept in err.
type parser struct {
	src      string
	sections map[string]value // of the top level, without the model
	options  map[string]value // of the model, without vocab and merges
	vocab    map[string]int32
	merges   []string // pairs: left, right, left, right …
	hasModel bool
	err      error
}

func (p *parser) broken(format string, args ...any) {
	if p.err == nil {
		p.err = &rule.Error{Rule: "TK002", Err: fmt.Errorf(format, args...)}
	}
}

func (p *parser) unsupported(format string, args ...any) {
	if p.err == nil {
		p.err = &rule.Unsupported{What: fmt.Sprintf(format, args...)}
	}
}

// read takes the document apart.
func (p *parser) read() error {
	err := strictjson.CheckUTF8(p.src)
	if err == nil {
		s := strictjson.NewScanner(p.src, strictjson.Limits{})
		p.sections = map[string]value{}
		if err = p.readTop(s); err == nil {
			err = s.End()
		}
	}
	if e, ok := errors.AsType[*strictjson.Error](err); ok {
		return &rule.Error{Rule: "TK001", Err: e}
	}
	return err
}

func (p *parser) readTop(s *strictjson.Scanner) error {
	var keys strictjson.Keys
	return s.Object(func(key string, at int) error {
		if err := keys.Add(key, at); err != nil {
			return err
		}
		if key == "model" {
			p.hasModel = true
			return p.readModel(s)
		}
		v, err := s.Value()
		p.sections[key] = v
		return err
	})
}

func (p *parser) readModel(s *strictjson.Scanner) error {
	p.options = map[string]value{}
	var keys strictjson.Keys
	return s.Object(func(key string, at int) error {
		if err := keys.Add(key, at); err != nil {
			return err
		}
		switch {
		case key == "vocab" && s.Peek() == '{':
			return p.readVocab(s)
		case key == "vocab": // a list: Unigram, whose type says so
			return s.Skip()
		case key == "merges":
			return p.readMerges(s)
		}
		v, err := s.Value()
		p.options[key] = v
		return err
	})
}

func (p *parser) readVocab(s *strictjson.Scanner) error {
	p.vocab = map[string]int32{}
	return s.Object(func(token string, at int) error {
		if _, ok := p.vocab[token]; ok {
			return &strictjson.Error{Problem: strictjson.Duplicate, Offset: at, What: fmt.Sprintf("token %+q occurs twice", short(token))}
		}
		if len(p.vocab) >= maxEntries {
			return &strictjson.Error{Problem: strictjson.Size, Offset: at, What: "more tokens than the limit"}
		}
		text, err := s.Number()
		if err != nil {
			return err
		}
		p.vocab[token] = p.id(text, token)
		return nil
	})
}

// readMerges reads "left right" and ["left", "right"].
func (p *parser) readMerges(s *strictjson.Scanner) error {
	return s.Array(func() error {
		if len(p.merges) >= 2*maxEntries {
			return &strictjson.Error{Problem: strictjson.Size, Offset: s.Pos(), What: "more merges than the limit"}
		}
		if s.Peek() == '"' {
			text, err := s.String()
			left, right, ok := strings.Cut(text, " ")
			if err == nil && (!ok || strings.Contains(right, " ")) {
				p.broken("merge %+q is not two tokens", short(text))
			}
			p.merges = append(p.merges, left, right)
			return err
		}
		n := 0
		err := s.Array(func() error {
			token, err := s.String()
			p.merges = append(p.merges, token)
			n++
			return err
		})
		if err == nil && n != 2 {
			return &strictjson.Error{Problem: strictjson.Syntax, Offset: s.Pos(), What: fmt.Sprintf("merge of %d tokens", n)}
		}
		return err
	})
}

// id reads the id of a token.
func (p *parser) id(text, token string) int32 {
	id, err := strconv.ParseUint(text, 10, 31)
	if err != nil || id >= maxID {
		p.broken("token %+q: id %s is not an integer below %d", short(token), short(text), maxID)
		return 0
	}
	if len(token) > maxToken {
		p.broken("token %+q has more than %d bytes", short(token), maxToken)
	}
	return int32(id)
}

// tokenizer makes the tokenizer from the parts.
func (p *parser) tokenizer() *Tokenizer {
	t := &Tokenizer{words: map[string][]int32{}, model: p.bpe()}
	t.normalize = p.normalizer(p.sections["normalizer"])
	t.preTokenize = p.preTokenizer(p.sections["pre_tokenizer"])
	t.decoder = p.decoder(p.sections["decoder"])
	t.prefix, t.tail = p.postProcessor(p.sections["post_processor"])
	if p.err != nil {
		return nil
	}
	tokens := p.addedTokens(p.sections["added_tokens"])
	if p.err != nil {
		return nil
	}
	t.added = newAddedTokens(tokens, t.normalize)
	for _, id := range p.vocab {
		t.size = max(t.size, int(id)+1)
	}
	for _, a := range tokens {
		t.size = max(t.size, int(a.id)+1)
	}
	for _, id := range append(append([]int32{}, t.prefix...), t.tail...) {
		if _, ok := t.Token(id); !ok {
			p.broken("post_processor adds id %d, which no token has", id)
		}
	}
	return t
}

// short cuts text from a file to a length that one can read.
func short(s string) string {
	const most = 100
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
