package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"

	"github.com/loratool/loratool/internal/strictjson"
)

const maxConfig = 8 << 20 // bytes

// A Config is the config.json of a model.
type Config struct {
	Raw   []byte // as read
	Value strictjson.Value
}

// Config reads config.json; it returns nil if there is none. Python writes
// NaN and Infinity, and real configs hold them, so they are accepted here.
func (c *Checkpoint) Config() (*Config, error) {
	if c.dir == "" {
		return nil, nil
	}
	path := filepath.Join(c.dir, "config.json")
	data, err := readLimited(path, maxConfig, "")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return ParseConfig(data, path)
}

// ParseConfig reads a config.json; the path is for messages.
func ParseConfig(data []byte, path string) (*Config, error) {
	v, err := strictjson.Limits{NonFinite: true}.Decode(data)
	if err != nil {
		return nil, fmt.Errorf("%s: not strict JSON: %w", path, err)
	}
	if v.Kind != strictjson.Object {
		return nil, fmt.Errorf("%s: found %s, expected an object", path, v.Kind)
	}
	return &Config{data, v}, nil
}

// ModelType returns model_type, such as "llama", or "".
func (c *Config) ModelType() string { return c.text("model_type") }

func (c *Config) text(name string) string {
	v, _ := c.Value.Lookup(name)
	if v.Kind != strictjson.String {
		return ""
	}
	return v.Text
}

// Setting returns a string, number or boolean as text, by its path through the
// objects.
func (c *Config) Setting(path ...string) (text string, ok bool) {
	v := c.Value
	for _, name := range path {
		if v.Kind != strictjson.Object {
			return "", false
		}
		if v, ok = v.Lookup(name); !ok {
			return "", false
		}
	}
	switch v.Kind {
	case strictjson.String, strictjson.Number:
		return v.Text, true
	case strictjson.Bool:
		return strconv.FormatBool(v.True), true
	}
	return "", false
}

// Architectures returns the strings of architectures.
func (c *Config) Architectures() (names []string) {
	v, _ := c.Value.Lookup("architectures")
	for _, e := range v.Elements {
		if e.Kind == strictjson.String {
			names = append(names, e.Text)
		}
	}
	return names
}

// TieWordEmbeddings returns tie_word_embeddings, and whether it is there. A
// model of text and images may say it in text_config.
func (c *Config) TieWordEmbeddings() (value, present bool) {
	text, _ := c.Value.Lookup("text_config")
	for _, v := range []strictjson.Value{c.Value, text} {
		if t, ok := v.Lookup("tie_word_embeddings"); ok && t.Kind == strictjson.Bool {
			return t.True, true
		}
	}
	return false, false
}

// Quantization tells how the weights of a model are quantized.
type Quantization struct {
	Method string           // quant_method, or "unknown"
	Value  strictjson.Value // quantization_config
}

// Quantization returns quantization_config, or nil if the weights are plain.
func (c *Config) Quantization() *Quantization {
	v, ok := c.Value.Lookup("quantization_config")
	if !ok || v.Kind != strictjson.Object {
		return nil
	}
	q := &Quantization{"unknown", v}
	if m, ok := v.Lookup("quant_method"); ok && m.Kind == strictjson.String {
		q.Method = m.Text
	}
	return q
}
