package adapter

import "strings"

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
