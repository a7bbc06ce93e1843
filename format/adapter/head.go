package adapter

import (
	"maps"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/adapter/names"
)

// embeddingNames and headNames are the last components of the paths of input
// embeddings and of language model heads in transformers (EMBEDDING_LAYER_NAMES
// of PEFT and the _tied_weights_keys of the models).
var (
	embeddingNames = []string{"embed_tokens", "wte", "word_embeddings", "embed_in", "shared", "tok_embeddings", "tokens_embed"}
	headNames      = []string{"lm_head", "embed_out", "cls.predictions.decoder", "lm_head.decoder"}
)

// IsEmbedding reports whether a path is that of an input embedding.
func IsEmbedding(path string) bool { return hasLast(path, embeddingNames) }

// IsHead reports whether a path is that of a language model head.
func IsHead(path string) bool { return hasLast(path, headNames) }

func hasLast(path string, names []string) bool {
	for _, n := range names {
		if path == n || strings.HasSuffix(path, "."+n) {
			return true
		}
	}
	return false
}

// HeadOf names the tensor of the head of an architecture that has one; without any
// architecture, the usual one.
func HeadOf(architectures []string) string {
	if len(architectures) == 0 {
		return "lm_head.weight"
	}
	tied := names.Tied(architectures)
	for _, name := range slices.Sorted(maps.Keys(tied)) {
		path, isWeight := strings.CutSuffix(name, ".weight")
		embeds := func(path string) bool { return IsEmbedding(path) || names.Embeds(architectures, path) }
		if isWeight && !embeds(path) && embeds(strings.TrimSuffix(tied[name], ".weight")) {
			return name
		}
	}
	for _, a := range architectures {
		switch {
		case strings.HasSuffix(a, "ForMaskedLM") && strings.HasPrefix(a, "Bert"), strings.HasSuffix(a, "ForPreTraining") && strings.HasPrefix(a, "Bert"):
			return "cls.predictions.decoder.weight"
		case strings.HasSuffix(a, "ForMaskedLM") && (strings.Contains(a, "Roberta") || strings.Contains(a, "Camembert")):
			return "lm_head.decoder.weight"
		case strings.HasSuffix(a, "LMHeadModel"), strings.HasSuffix(a, "ForCausalLM"), strings.HasSuffix(a, "ForConditionalGeneration"), strings.HasSuffix(a, "ForMaskedLM"):
			return "lm_head.weight"
		}
	}
	return ""
}
