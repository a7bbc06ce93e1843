package corpus

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/strictjson"
	"github.com/loratool/loratool/train/internal/data"
)

// Samples are the samples of a file. They are a train.Source.
type Samples struct {
	data.Sequences
	Lines []int // line of each sample in its file, from 1
}

// A Long is a sample that is longer than it may be.
type Long struct {
	Line   int `json:"line"`
	Tokens int `json:"tokens"`
}

// Longer returns the samples of more than so many tokens.
func (s *Samples) Longer(tokens int) (long []Long) {
	for i, q := range s.Sequences {
		if len(q.Tokens) > tokens {
			long = append(long, Long{s.Lines[i], len(q.Tokens)})
		}
	}
	return long
}

const (
	maxLine   = 64 << 20 // bytes
	maxValues = 1 << 22  // of one line, such as token ids
	// ignored is the label that transformers skips.
	ignored = -100
)

// ReadFile reads the samples of a JSON Lines file.
func (t *Text) ReadFile(path string) (*Samples, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return t.Read(f, path)
}

// ReadIDs reads a file of token ids, for which no tokenizer is needed.
func ReadIDs(path string) (*Samples, error) { return (*Text)(nil).ReadFile(path) }

// Read reads JSON Lines, each an object of one kind:
//
//	{"prompt": …, "completion": …}   the completion is learned
//	{"text": …}                      all of it is learned
//	{"messages": [{"role": …, "content": …}, …]}   what the assistant says
//	{"input_ids": […], "labels": […]}              labels other than -100
//
// Other members are ignored. Prompt and completion may be lists of messages.
// The tokens of a text and of a completion are followed by the one that ends
// a text; conversations end as the chat template has it. Name is the file's,
// for messages.
func (t *Text) Read(r io.Reader, name string) (*Samples, error) {
	s := &Samples{}
	err := eachLine(r, name, func(n int, line []byte) error {
		q, err := t.sample(line)
		s.Sequences = append(s.Sequences, q)
		s.Lines = append(s.Lines, n)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(s.Sequences) == 0 {
		return nil, &rule.Error{File: name, Rule: "TD002", Err: errors.New("no samples")}
	}
	return s, nil
}

// eachLine calls f with the number and the content of every line that is not
// blank. Name is the file's; errors of f get both.
func eachLine(r io.Reader, name string, f func(n int, line []byte) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	n := 1
	for ; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		if err := f(n, line); err != nil {
			return atLine(err, name, n)
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return atLine(&rule.Unsupported{What: fmt.Sprintf("a line of more than %d bytes", maxLine)}, name, n)
	} else if err != nil {
		return fmt.Errorf("read %s: %w", rule.Printable(name), err)
	}
	return nil
}

// atLine says where in a file an error is.
func atLine(err error, name string, line int) error {
	switch e := err.(type) {
	case *rule.Unsupported:
		return &rule.Unsupported{File: name, What: fmt.Sprintf("line %d: %s", line, e.What), Hint: e.Hint}
	case *rule.Error:
		return &rule.Error{File: name, Rule: e.Rule, Err: fmt.Errorf("line %d: %w", line, e.Err)}
	}
	return &rule.Error{File: name, Rule: "TD001", Err: fmt.Errorf("line %d: %w", line, err)}
}

// kinds are the members that tell what a line is.
var kinds = [...]string{"prompt", "text", "messages", "input_ids"}

// sample reads one line.
func (t *Text) sample(line []byte) (data.Sequence, error) {
	v, err := strictjson.Limits{Values: maxValues}.Decode(line)
	if err != nil {
		return data.Sequence{}, err
	}
	kind := ""
	for _, name := range kinds {
		if _, ok := v.Lookup(name); !ok {
			continue
		}
		if kind != "" {
			return data.Sequence{}, fmt.Errorf("has both %s and %s", kind, name)
		}
		kind = name
	}
	if t == nil && kind != "input_ids" && kind != "" {
		return data.Sequence{}, &rule.Unsupported{What: kind + " for a base without a tokenizer", Hint: "write input_ids"}
	}
	switch kind {
	case "prompt":
		return t.completion(v)
	case "text":
		return t.plain(v)
	case "messages":
		messages, _ := v.Lookup("messages")
		return t.conversation(v, messages.Elements, 0)
	case "input_ids":
		return tokens(v)
	}
	return data.Sequence{}, fmt.Errorf("an object with prompt and completion, text, messages or input_ids was expected, found %s", describe(v))
}

// describe says what a line is that is no sample.
func describe(v strictjson.Value) string {
	if v.Kind != strictjson.Object {
		return v.Kind.String()
	}
	if len(v.Members) == 0 {
		return "an empty object"
	}
	return "an object with " + strconv.QuoteToASCII(v.Members[0].Name)
}

func stringOf(v strictjson.Value, name string) (string, error) {
	m, ok := v.Lookup(name)
	if !ok {
		return "", fmt.Errorf("there is no %s", name)
	}
	if m.Kind != strictjson.String {
		return "", fmt.Errorf("%s is %s, expected a string", name, m.Kind)
	}
	return m.Text, nil
}

// plain is a text of which every token is learned.
func (t *Text) plain(v strictjson.Value) (data.Sequence, error) {
	text, err := stringOf(v, "text")
	if err != nil {
		return data.Sequence{}, err
	}
	return t.learn(t.ended(t.Encode(text, true)), 0), nil
}

// completion is a prompt with the text that is to follow it. The two are
// encoded as one text; what is learned begins with the first token that the
// prompt alone does not have.
func (t *Text) completion(v strictjson.Value) (data.Sequence, error) {
	if p, _ := v.Lookup("prompt"); p.Kind == strictjson.Array {
		c, ok := v.Lookup("completion")
		if !ok || c.Kind != strictjson.Array {
			return data.Sequence{}, errors.New("prompt is a list of messages, completion is not")
		}
		return t.conversation(v, append(append([]strictjson.Value{}, p.Elements...), c.Elements...), len(p.Elements))
	}
	prompt, err := stringOf(v, "prompt")
	if err != nil {
		return data.Sequence{}, err
	}
	completion, err := stringOf(v, "completion")
	if err != nil {
		return data.Sequence{}, err
	}
	ids := t.Encode(prompt+completion, true)
	from := common(t.Encode(prompt, true), ids)
	return t.learn(t.ended(ids), from), nil
}

// ended appends the token that ends a text, unless it is there.
func (t *Text) ended(ids []int32) []int32 {
	if t.eos == noToken || len(ids) > 0 && ids[len(ids)-1] == t.eos {
		return ids
	}
	return append(ids, t.eos)
}

// learn has the tokens from index from on learned.
func (t *Text) learn(ids []int32, from int) data.Sequence {
	q := data.Sequence{Tokens: ids, Learn: make([]bool, len(ids))}
	for i := from; i < len(ids); i++ {
		q.Learn[i] = true
	}
	return q
}

// common returns how many elements two lists begin with in common.
func common[T comparable](a, b []T) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// tokens reads input_ids and labels.
func tokens(v strictjson.Value) (q data.Sequence, err error) {
	ids, _ := v.Lookup("input_ids")
	if q.Tokens, err = integers("input_ids", ids); err != nil {
		return q, err
	}
	q.Learn = make([]bool, len(q.Tokens))
	list, ok := v.Lookup("labels")
	if !ok {
		for i := range q.Learn {
			q.Learn[i] = true
		}
		return q, nil
	}
	labels, err := integers("labels", list)
	if err != nil {
		return q, err
	}
	if len(labels) != len(q.Tokens) {
		return q, fmt.Errorf("%d labels for %d input_ids", len(labels), len(q.Tokens))
	}
	for i, l := range labels {
		if l != ignored && l != q.Tokens[i] {
			return q, fmt.Errorf("label %d of token %d, expected the token or %d", l, q.Tokens[i], ignored)
		}
		q.Learn[i] = l != ignored
	}
	return q, nil
}

func integers(name string, v strictjson.Value) ([]int32, error) {
	if v.Kind != strictjson.Array {
		return nil, fmt.Errorf("%s is %s, expected a list", name, v.Kind)
	}
	list := make([]int32, len(v.Elements))
	for i, e := range v.Elements {
		n, err := strconv.ParseInt(e.Text, 10, 32)
		if e.Kind != strictjson.Number || err != nil || n < 0 && !(name == "labels" && n == ignored) {
			return nil, fmt.Errorf("%s: element %d is no token id", name, i+1)
		}
		list[i] = int32(n)
	}
	return list, nil
}

// ReadPrompts reads the member prompt of every line of a JSON Lines file.
func ReadPrompts(path string) (prompts []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	err = eachLine(f, path, func(_ int, line []byte) error {
		v, err := strictjson.Limits{Values: maxValues}.Decode(line)
		if err != nil {
			return err
		}
		prompt, err := stringOf(v, "prompt")
		prompts = append(prompts, prompt)
		return err
	})
	if err != nil {
		return nil, err
	}
	return prompts, nil
}
