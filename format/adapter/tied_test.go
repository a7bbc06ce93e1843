package adapter

import (
	"slices"
	"testing"
)

// A tiedBase is a base of a class, with what its config says.
type tiedBase struct {
	fakeBase
	class         string
	tied, present bool
}

func (b tiedBase) Architectures() []string         { return []string{b.class} }
func (b tiedBase) TieWordEmbeddings() (bool, bool) { return b.tied, b.present }

func stored(names ...string) map[string][]int {
	shapes := map[string][]int{}
	for _, name := range names {
		shapes[name] = []int{9, 4}
	}
	return shapes
}

func TestAliases(t *testing.T) {
	const bart, mamba, t5 = "BartForConditionalGeneration", "MambaForCausalLM", "T5ForConditionalGeneration"
	encoder, decoder := Alias{"model.encoder.embed_tokens.weight", "model.shared.weight", false}, Alias{"model.decoder.embed_tokens.weight", "model.shared.weight", false}
	head := Alias{"lm_head.weight", "model.shared.weight", false}
	for _, c := range []struct {
		name string
		base tiedBase
		want []Alias
	}{
		{"all of BART", tiedBase{fakeBase{stored("model.shared.weight"), "bart"}, bart, true, true}, []Alias{head, decoder, encoder}},
		{"nothing said", tiedBase{fakeBase{stored("model.shared.weight"), "bart"}, bart, false, false}, []Alias{head, decoder, encoder}},
		{"untied", tiedBase{fakeBase{stored("model.shared.weight"), "bart"}, bart, false, true}, nil},
		{"stored too", tiedBase{fakeBase{stored("model.shared.weight", "lm_head.weight"), "bart"}, bart, true, true}, []Alias{{head.Name, head.Of, true}, decoder, encoder}},
		{"stored, nothing said", tiedBase{fakeBase{stored("model.shared.weight", "lm_head.weight"), "bart"}, bart, false, false}, []Alias{decoder, encoder}},
		{"an embedding of another name", tiedBase{fakeBase{stored("backbone.embeddings.weight"), "mamba"}, mamba, true, true}, []Alias{{"lm_head.weight", "backbone.embeddings.weight", false}}},
		{"T5 despite its config", tiedBase{fakeBase{stored("shared.weight", "lm_head.weight"), "t5"}, t5, false, true},
			[]Alias{{"decoder.embed_tokens.weight", "shared.weight", false}, {"encoder.embed_tokens.weight", "shared.weight", false}}},
		{"an unknown class", tiedBase{fakeBase{stored("model.embed_tokens.weight"), ""}, "UnheardForCausalLM", true, true}, []Alias{{"lm_head.weight", "model.embed_tokens.weight", false}}},
	} {
		if got := Aliases(c.base); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestWithTied lays the factors of a tied head and of a second embedding over
// the one tensor that the base has.
func TestWithTied(t *testing.T) {
	base := tiedBase{fakeBase{stored("model.shared.weight"), "bart"}, "BartForConditionalGeneration", true, true}
	a := &Adapter{Modules: []*Module{module("lm_head", Linear, 2, []int{2, 4}, []int{9, 2}), module("model.encoder.embed_tokens", Embedding, 2, []int{2, 9}, []int{4, 2}),
		module("model.q", Linear, 2, []int{2, 4}, []int{9, 2})}}
	res, err := a.Resolve(base)
	if err != nil {
		t.Fatal(err)
	}
	updates, missing, err := res.WithTied(a, base)
	if err != nil || len(updates) != 2 || len(missing) != 1 || missing[0].Name != "model.q" {
		t.Fatalf("updates %v, missing %v, %v", updates, missing, err)
	}
	for i, transposed := range []bool{false, true} {
		if p := updates[i].Pieces[0]; p.Tensor != "model.shared.weight" || p.Transposed != transposed {
			t.Errorf("%s is laid over %+v", updates[i].Module.Path, p)
		}
	}
}
