package corpus

import (
	"encoding/json"
	"errors"

	"github.com/loratool/loratool/internal/strictjson"
	"github.com/loratool/loratool/train/internal/chat"
	"github.com/loratool/loratool/train/internal/data"
)

// An Encoded is a text in tokens and what they give back.
type Encoded struct {
	IDs         []int32 `json:"ids"`
	WithSpecial []int32 `json:"with_special"` // with those that the tokenizer puts around a text
	Text        string  `json:"text"`         // of IDs, decoded
	Clean       string  `json:"clean"`        // without special tokens
}

// Encoded encodes a text and decodes it again.
func (t *Text) Encoded(text string) Encoded {
	ids := append([]int32{}, t.Encode(text, false)...)
	return Encoded{ids, append([]int32{}, t.Encode(text, true)...), t.Decode(ids, false), t.Decode(ids, true)}
}

// A Rendered is a conversation as the chat template writes it.
type Rendered struct {
	Text      string   `json:"text"`
	Generated [][2]int `json:"generated"` // bytes within generation blocks, from and to
	IDs       []int32  `json:"ids"`
	Learned   []int32  `json:"learned"` // indices of the tokens that training learns
}

// Line answers one line of JSON: a string with an Encoded, an object with
// messages, and maybe tools and add_generation_prompt, with a Rendered.
func (t *Text) Line(line []byte) (any, error) {
	v, err := strictjson.Limits{Values: maxValues}.Decode(line)
	switch {
	case err != nil:
		return nil, err
	case v.Kind == strictjson.String:
		return t.Encoded(v.Text), nil
	case v.Kind != strictjson.Object:
		return nil, errors.New("neither a string nor an object with messages")
	}
	return t.rendered(v)
}

func (t *Text) rendered(v strictjson.Value) (any, error) {
	messages, _ := v.Lookup("messages")
	tools, _ := v.Lookup("tools")
	prompt, _ := v.Lookup("add_generation_prompt")
	text, spans, err := t.render(chat.Input{Messages: messages.Elements, Tools: tools, AddGenerationPrompt: prompt.True})
	if err != nil {
		return nil, err
	}
	r := Rendered{Text: text, Generated: [][2]int{}, IDs: t.Encode(text, false), Learned: []int32{}}
	for _, s := range spans {
		r.Generated = append(r.Generated, [2]int{s.Start, s.End})
	}
	if q, err := t.conversation(v, messages.Elements, 0); err == nil && !prompt.True {
		r.Learned = learned(q)
	}
	return r, nil
}

func learned(q data.Sequence) []int32 {
	list := []int32{}
	for i, l := range q.Learn {
		if l {
			list = append(list, int32(i))
		}
	}
	return list
}

// AppendJSON appends the answer to a line; one that cannot be answered is an
// object with its error.
func (t *Text) AppendJSON(dst, line []byte) []byte {
	answer, err := t.Line(line)
	if err != nil {
		answer = map[string]string{"error": err.Error()}
	}
	out, err := json.Marshal(answer)
	if err != nil {
		panic(err) // strings and integers only
	}
	return append(append(dst, out...), '\n')
}

// A Summary says what a file of samples holds.
type Summary struct {
	Samples int  `json:"samples"`
	Tokens  int  `json:"tokens"`
	Learned int  `json:"learned"` // tokens that the loss counts
	Longest Long `json:"longest"`
	Over    int  `json:"over,omitempty"` // samples of more tokens than the limit
}

// Summary describes samples; limit is the longest that is trained on whole.
func (s *Samples) Summary(limit int) Summary {
	r := Summary{Samples: s.Len(), Over: len(s.Longer(limit))}
	for i, q := range s.Sequences {
		r.Tokens += len(q.Tokens)
		r.Learned += q.Targets()
		if len(q.Tokens) > r.Longest.Tokens {
			r.Longest = Long{s.Lines[i], len(q.Tokens)}
		}
	}
	return r
}

// A Stretch is a run of tokens of a sample that are all learned or all not.
type Stretch struct {
	Text    string `json:"text"`
	Learned bool   `json:"learned"`
}

// Show returns sample i as text, in stretches that make up all of it.
func (t *Text) Show(s *Samples, i int) (stretches []Stretch) {
	q := s.At(i)
	shown := ""
	for from := 0; from < len(q.Tokens); {
		to := from + 1
		for to < len(q.Tokens) && q.Learn[to] == q.Learn[from] {
			to++
		}
		// Decoded from the start: a tokenizer may drop the first space.
		text := t.Decode(q.Tokens[:to], false)
		stretches = append(stretches, Stretch{text[commonText(shown, text):], q.Learn[from]})
		from, shown = to, text
	}
	return stretches
}
