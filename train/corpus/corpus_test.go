package corpus

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/loratool/loratool/format/rule"
)

// base makes a folder with the tokenizer of stories260K, to which the tokens
// of ChatML are added, and a chat template.
func base(t *testing.T, template string) *Text {
	t.Helper()
	data, err := os.ReadFile("../../testdata/stories260k/base/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	const chatML = `"added_tokens": [
 {"id": 512, "content": "<|im_start|>", "special": true}, {"id": 513, "content": "<|im_end|>", "special": true},`
	dir := t.TempDir()
	for name, content := range map[string]string{
		"tokenizer.json":         strings.Replace(string(data), `"added_tokens": [`, chatML, 1),
		"tokenizer_config.json":  `{"bos_token": {"content": "<s>"}, "eos_token": "</s>"}`,
		"generation_config.json": `{"eos_token_id": [2, 513, 99999]}`,
		"chat_template.jinja":    template,
	} {
		if name == "chat_template.jinja" && template == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	text, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

const (
	plainChat = `{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`
	// forgetful writes the thoughts of the last turn only, as Qwen3 does.
	forgetful = `{% for m in messages %}<|im_start|>{{ m.role }}
{% if m.role == 'assistant' %}{% set a = m.content.split('</think>')[-1].lstrip() %}{% if loop.last %}<think>x</think>{% endif %}{{ a }}{% else %}{{ m.content }}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`
	marked = `{% for m in messages %}{{ m.role }}:{% if m.role == 'assistant' %}{% generation %}{{ m.content }}</s>{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}`
)

// What is learned stands in brackets.
func TestRead(t *testing.T) {
	for _, c := range []struct{ name, template, line, want string }{
		{"text", "", `{"text": "a big dog", "id": 7}`, "[<s> a big dog</s>]"},
		{"completion", "", `{"prompt": "a big", "completion": " dog"}`, "<s> a big[ dog</s>]"},
		{"a token across the boundary", "", `{"prompt": "a big ", "completion": "dog"}`, "<s> a big[ dog</s>]"},
		{"empty prompt", "", `{"prompt": "", "completion": "dog"}`, "<s>[ dog</s>]"},
		{"end of text once", "", `{"text": "dog</s>"}`, "[<s> dog</s>]"},
		{"ids", "", `{"input_ids": [1, 403, 407, 261]}`, "[<s> Once upon a]"},
		{"ids with labels", "", `{"input_ids": [1, 403, 407, 261], "labels": [-100, -100, 407, 261]}`, "<s> Once[ upon a]"},
		{"messages", plainChat, `{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}, {"role": "user", "content": "So?"}, {"role": "assistant", "content": "No"}]}`,
			"<s><|im_start|> user\n Hi<|im_end|> \n<|im_start|> assistant\n[ Yes<|im_end|> \n]<|im_start|> user\n So?<|im_end|> \n<|im_start|> assistant\n[ No<|im_end|> \n]"},
		{"prompt of messages", plainChat, `{"prompt": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}, {"role": "user", "content": "So?"}], "completion": [{"role": "assistant", "content": "No"}]}`,
			"<s><|im_start|> user\n Hi<|im_end|> \n<|im_start|> assistant\n Yes<|im_end|> \n<|im_start|> user\n So?<|im_end|> \n<|im_start|> assistant\n[ No<|im_end|> \n]"},
		{"thoughts dropped", forgetful, `{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}, {"role": "user", "content": "So?"}, {"role": "assistant", "content": "No"}]}`,
			"<|im_start|> user\nHi<|im_end|> \n<|im_start|> assistant\n[Yes<|im_end|> \n]<|im_start|> user\nSo?<|im_end|> \n<|im_start|> assistant\n[<think>x</think>No<|im_end|> \n]"},
		{"generation blocks", marked, `{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]}`, " user:Hiassistant:[Yes</s>]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := base(t, c.template)
			s, err := text.Read(strings.NewReader(c.line+"\n\n"), "data.jsonl")
			if err != nil {
				t.Fatal(err)
			}
			if got := bracketed(text, s); strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(c.want, " ", "") {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// bracketed writes a sample as text with what is learned in brackets. Where
// spaces stand is the tokenizer's business.
func bracketed(text *Text, s *Samples) string {
	var b strings.Builder
	learn := false
	q := s.At(0)
	for i, id := range q.Tokens {
		if q.Learn[i] != learn {
			learn = !learn
			b.WriteString(map[bool]string{true: "[", false: "]"}[learn])
		}
		token, _ := text.Token(id)
		if token == "<0x0A>" {
			token = "\n"
		}
		b.WriteString(strings.ReplaceAll(token, "▁", " "))
	}
	if learn {
		b.WriteString("]")
	}
	return b.String()
}

func TestRefusals(t *testing.T) {
	with, without := base(t, plainChat), base(t, "")
	for _, c := range []struct {
		text        *Text
		lines, want string
		unsupported bool
	}{
		{with, "", "data.jsonl: no samples [TD002]", false},
		{with, "\n\n", "no samples", false},
		{with, "{\"text\": \"a\"}\n{\"text\": 1}", "line 2: text is a number", false},
		{with, "{", "line 1: byte 1", false},
		{with, "[]", "found a list", false},
		{with, `{"conversations": []}`, `an object with "conversations"`, false},
		{with, `{"text": "a", "messages": []}`, "has both", false},
		{with, `{"prompt": "a"}`, "there is no completion", false},
		{with, `{"messages": []}`, "no messages", false},
		{with, `{"messages": [{"content": "a"}]}`, "message 1 has no role", false},
		{with, `{"messages": [{"role": "user", "content": "a"}]}`, "the assistant says nothing", false},
		{with, `{"messages": [{"role": "user"}]}`, "the assistant says nothing", false},
		{without, `{"messages": [{"role": "assistant", "content": "a"}]}`, "without a chat template", true},
		{with, `{"input_ids": [1, -2]}`, "element 2 is no token id", false},
		{with, `{"input_ids": [1, 2], "labels": [1]}`, "1 labels for 2", false},
		{with, `{"input_ids": [1, 2], "labels": [1, 3]}`, "label 3 of token 2", false},
		{nil, `{"text": "a"}`, "without a tokenizer", true},
	} {
		_, err := c.text.Read(strings.NewReader(c.lines), "data.jsonl")
		if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, rule.ErrUnsupported) != c.unsupported {
			t.Errorf("%s: error %v, want %q", c.lines, err, c.want)
		}
	}
	if s, err := (*Text)(nil).Read(strings.NewReader(`{"input_ids": [1, 2]}`), ""); err != nil || s.Len() != 1 {
		t.Errorf("ids without a tokenizer: %v", err)
	}
}

func TestLongLine(t *testing.T) {
	lines := "{\"input_ids\": [1, 2]}\n" + strings.Repeat(" ", maxLine+1)
	_, err := base(t, "").Read(strings.NewReader(lines), "data.jsonl")
	if want := "line 2: a line of more than 67108864 bytes"; !errors.Is(err, rule.ErrUnsupported) || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}

func TestLonger(t *testing.T) {
	s, err := base(t, "").Read(strings.NewReader("\n{\"input_ids\": [1, 2, 3]}\n{\"input_ids\": [1]}"), "")
	if err != nil {
		t.Fatal(err)
	}
	if long := s.Longer(2); len(long) != 1 || long[0] != (Long{2, 3}) {
		t.Errorf("longer than 2 tokens: %v", long)
	}
}

func TestPrompt(t *testing.T) {
	text := base(t, plainChat)
	plain, err := text.Prompt("Once", false)
	if err != nil || text.Decode(plain, false) != "<s> Once" {
		t.Errorf("prompt %q, %v", text.Decode(plain, false), err)
	}
	asChat, err := text.Prompt("Hi", true)
	const want = "<s><|im_start|> user\nHi<|im_end|> \n<|im_start|> assistant\n"
	if got := text.Decode(asChat, false); err != nil || strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
		t.Errorf("prompt %q, %v", got, err)
	}
	if stops := text.Stops(); !slices.Equal(stops, []int32{2, 2, 513, 1}) {
		t.Errorf("stops %v", stops)
	}
	if _, err := Open(t.TempDir()); !errors.Is(err, rule.ErrUnsupported) {
		t.Errorf("folder without tokenizer: %v", err)
	}
}
