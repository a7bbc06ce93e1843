// Package corpus turns texts and conversations into the token sequences that
// package train learns from, with the tokenizer and the chat template that
// stand beside a base, and tokens back into text. It reads JSON Lines; it
// knows nothing of models.
package corpus

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strconv"

	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/internal/strictjson"
	"github.com/loratool/loratool/train/internal/chat"
	"github.com/loratool/loratool/train/internal/tokenizer"
)

// Text is the text side of a base: its tokenizer, its chat template if it has
// one, and the tokens that end a text.
type Text struct {
	*tokenizer.Tokenizer
	template  *chat.Template
	special   map[string]string // names that the template sees: bos_token …
	eos       int32             // ends a sample; none: noToken
	stops     []int32           // end a generated text
	nonePlace string            // where a template was looked for, for messages
}

const (
	noToken   = -1
	maxConfig = 8 << 20 // bytes of a JSON file beside the tokenizer
)

// Open reads tokenizer.json, and what else there is, in the folder of a base.
func Open(dir string) (*Text, error) {
	tok, err := tokenizer.Open(filepath.Join(dir, "tokenizer.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &rule.Unsupported{File: dir, What: "a base without tokenizer.json", Hint: "save its tokenizer beside it with save_pretrained, or train on token ids"}
	}
	if err != nil {
		return nil, err
	}
	t := &Text{Tokenizer: tok, special: map[string]string{}, eos: noToken, nonePlace: dir}
	config, err := readObject(filepath.Join(dir, "tokenizer_config.json"))
	if err != nil {
		return nil, err
	}
	t.readSpecial(config)
	if err := t.readTemplate(dir, config); err != nil {
		return nil, err
	}
	return t, t.readStops(dir)
}

// readObject reads a JSON object; a file that is not there is an empty one.
func readObject(path string) (strictjson.Value, error) {
	data, err := readFile(path)
	if err != nil || data == nil {
		return strictjson.Value{}, err
	}
	v, err := strictjson.Limits{NonFinite: true}.Decode(data)
	if err != nil {
		return v, &rule.Error{File: path, Rule: "TK001", Err: err}
	}
	return v, nil
}

// readFile reads a small file; nil if there is none.
func readFile(path string) ([]byte, error) {
	data, err := safetensors.ReadRegular(path, maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// readSpecial reads the special tokens by name; a token is a string or an
// object with its content.
func (t *Text) readSpecial(config strictjson.Value) {
	for _, name := range [...]string{"bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"} {
		v, ok := config.Lookup(name)
		if v.Kind == strictjson.Object {
			v, ok = v.Lookup("content")
		}
		if ok && v.Kind == strictjson.String {
			t.special[name] = v.Text
		}
	}
	if id, ok := t.ID(t.special["eos_token"]); ok && t.special["eos_token"] != "" {
		t.eos = id
	}
}

// readTemplate reads chat_template.jinja, or chat_template of the config: a
// string or a list of named ones.
func (t *Text) readTemplate(dir string, config strictjson.Value) error {
	path := filepath.Join(dir, "chat_template.jinja")
	source, err := readFile(path)
	if err != nil {
		return err
	}
	if source == nil {
		path = filepath.Join(dir, "tokenizer_config.json")
		v, _ := config.Lookup("chat_template")
		if source = namedTemplate(v); source == nil {
			return nil
		}
	}
	t.template, err = chat.Parse(string(source))
	return inFile(err, path)
}

func namedTemplate(v strictjson.Value) []byte {
	if v.Kind == strictjson.String {
		return []byte(v.Text)
	}
	for _, e := range v.Elements {
		name, _ := e.Lookup("name")
		source, ok := e.Lookup("template")
		if ok && name.Text == "default" {
			return []byte(source.Text)
		}
	}
	return nil
}

// readStops finds the tokens that end a generated text: those that the configs
// name, and the token that begins the next one.
func (t *Text) readStops(dir string) error {
	if t.eos != noToken {
		t.stops = append(t.stops, t.eos)
	}
	defer func() {
		if id, ok := t.ID(t.special["bos_token"]); ok {
			t.stops = append(t.stops, id)
		}
	}()
	for _, name := range [...]string{"generation_config.json", "config.json"} {
		v, err := readObject(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		ids, _ := v.Lookup("eos_token_id")
		list := ids.Elements
		if ids.Kind == strictjson.Number {
			list = []strictjson.Value{ids}
		}
		for _, e := range list {
			if id, err := strconv.ParseInt(e.Text, 10, 32); err == nil && id >= 0 && int(id) < t.Size() {
				t.stops = append(t.stops, int32(id))
			}
		}
	}
	if t.eos == noToken && len(t.stops) > 0 {
		t.eos = t.stops[0]
	}
	return nil
}

// Stops returns the tokens that end a generated text.
func (t *Text) Stops() []int32 { return t.stops }

// HasTemplate reports whether the base has a chat template.
func (t *Text) HasTemplate() bool { return t.template != nil }

// Prompt returns the tokens that begin an answer: those of the text, or with
// chat those of a conversation in which the user says it.
func (t *Text) Prompt(text string, asChat bool) ([]int32, error) {
	if !asChat {
		return t.Encode(text, true), nil
	}
	rendered, _, err := t.render(chat.Input{Messages: []strictjson.Value{message("user", text)}, AddGenerationPrompt: true})
	return t.Encode(rendered, false), err
}

func message(role, content string) strictjson.Value {
	return strictjson.Value{Kind: strictjson.Object, Members: []strictjson.Member{
		{Name: "role", Value: strictjson.Value{Kind: strictjson.String, Text: role}},
		{Name: "content", Value: strictjson.Value{Kind: strictjson.String, Text: content}},
	}}
}

// render renders a conversation with the special tokens of the base.
func (t *Text) render(in chat.Input) (string, []chat.Span, error) {
	if t.template == nil {
		return "", nil, &rule.Unsupported{File: t.nonePlace, What: "messages for a base without a chat template", Hint: "put chat_template.jinja into its folder, or write prompt and completion"}
	}
	in.Variables = t.special
	return t.template.Render(in)
}

// inFile names the file in an error about its content.
func inFile(err error, path string) error {
	if e, ok := errors.AsType[*rule.Error](err); ok {
		e.File = path
	}
	if e, ok := errors.AsType[*rule.Unsupported](err); ok {
		e.File = path
	}
	return err
}
