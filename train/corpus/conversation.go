package corpus

import (
	"errors"
	"fmt"
	"strings"

	"github.com/loratool/loratool/internal/strictjson"
	"github.com/loratool/loratool/train/internal/chat"
	"github.com/loratool/loratool/train/internal/data"
)

// conversation renders messages and has learned what the assistant says from
// message number first on.
func (t *Text) conversation(line strictjson.Value, messages []strictjson.Value, first int) (data.Sequence, error) {
	if err := checkMessages(messages); err != nil {
		return data.Sequence{}, err
	}
	tools, _ := line.Lookup("tools")
	c := conversation{t: t, messages: messages, tools: tools}
	text, spans, err := t.render(chat.Input{Messages: messages, Tools: tools})
	if err != nil {
		return data.Sequence{}, err
	}
	c.text = text
	if len(spans) == 0 || first > 0 {
		if spans, err = c.turns(first); err != nil {
			return data.Sequence{}, err
		}
	}
	if len(spans) == 0 {
		return data.Sequence{}, errors.New("the assistant says nothing")
	}
	ids := t.Encode(text, false)
	q := t.learn(ids, len(ids))
	for _, s := range spans {
		// A token that lies across the boundary belongs to what follows it.
		start := common(t.Encode(text[:s.Start], false), ids)
		end := common(t.Encode(text[:s.End], false), ids)
		for i := start; i < end; i++ {
			q.Learn[i] = true
		}
	}
	return q, nil
}

func checkMessages(messages []strictjson.Value) error {
	if len(messages) == 0 {
		return errors.New("there are no messages")
	}
	for i, m := range messages {
		role, ok := m.Lookup("role")
		if !ok || role.Kind != strictjson.String {
			return fmt.Errorf("message %d has no role", i+1)
		}
	}
	return nil
}

// A conversation is one rendered text whose turns are to be found.
type conversation struct {
	t        *Text
	messages []strictjson.Value
	tools    strictjson.Value
	text     string
}

// turns finds what the assistant says: for each of its messages, what the
// template adds to the text that ends in the generation prompt before it.
func (c *conversation) turns(first int) (spans []chat.Span, err error) {
	for i, m := range c.messages {
		role, _ := m.Lookup("role")
		if role.Text != "assistant" || i < first {
			continue
		}
		before, err := c.upTo(i, true)
		if err != nil {
			return nil, err
		}
		after, err := c.upTo(i+1, false)
		if err != nil {
			return nil, err
		}
		s, ok := c.turn(m, before, after)
		if !ok {
			return nil, fmt.Errorf("message %d: the chat template does not leave it in the text", i+1)
		}
		spans = append(spans, s)
	}
	return spans, nil
}

// upTo renders the first n messages.
func (c *conversation) upTo(n int, prompt bool) (string, error) {
	if n == 0 {
		return "", nil
	}
	text, _, err := c.t.render(chat.Input{Messages: c.messages[:n], Tools: c.tools, AddGenerationPrompt: prompt})
	return text, err
}

// turn finds one message of the assistant. Templates that write earlier turns
// otherwise than the last one (Qwen3 drops their thoughts) are followed by the
// message's content and the end of turn behind it.
func (c *conversation) turn(m strictjson.Value, before, after string) (chat.Span, bool) {
	start := commonText(before, c.text)
	if strings.HasPrefix(c.text, after) {
		return chat.Span{Start: min(start, commonText(before, after)), End: len(after)}, true
	}
	content, _ := m.Lookup("content")
	said := strings.TrimSpace(content.Text)
	if _, answer, ok := strings.Cut(said, "</think>"); ok {
		said = strings.TrimSpace(answer)
	}
	here, there := strings.Index(c.text[start:], said), strings.LastIndex(after, said)
	if said == "" || here < 0 || there < 0 {
		return chat.Span{}, false
	}
	end := start + here + len(said)
	end += commonText(c.text[end:], after[there+len(said):])
	return chat.Span{Start: start, End: end}, true
}

// commonText returns how many bytes two texts begin with in common, in whole
// characters.
func commonText(a, b string) int {
	for i, r := range a {
		if !strings.HasPrefix(b[i:], string(r)) {
			return i
		}
	}
	return len(a)
}
