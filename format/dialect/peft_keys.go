package dialect

import (
	"slices"
	"strings"
)

// A keyPart is what a tensor of a PEFT file is for.
type keyPart uint8

const (
	partOther      keyPart = iota // a tensor of the base under its own name: a replacement
	partA                         // lora_A.weight
	partB                         // lora_B.weight
	partBias                      // lora_B.bias
	partEmbeddingA                // lora_embedding_A
	partEmbeddingB                // lora_embedding_B
	partMagnitude                 // lora_magnitude_vector
	partTokens                    // token_adapter.trainable_tokens_delta
	partUnused                    // written by PEFT, says nothing about the merged model
	partRefused                   // belongs to a variant that is not read
)

// A peftKey is the name of a tensor taken apart.
type peftKey struct {
	module  string // path in the base, or the whole name for partOther
	part    keyPart
	adapter string // infix of a raw training state, such as "default"
	why     string // for partUnused and partRefused
	copyOf  string // the tensor of the base, for a copy of it
}

// defaultAdapter is the name that PEFT gives an adapter without one.
const defaultAdapter = "default"

const peftPrefix = "base_model.model."

// wrappers are path components that training frameworks put around modules.
var wrappers = map[string]bool{"_orig_mod": true, "_fsdp_wrapped_module": true, "_checkpoint_wrapped_module": true}

// markers are the components that start the suffix of a key, after the
// module's path (src/peft/utils/save_and_load.py).
var markers = map[string]struct {
	part     keyPart
	trailing bool // followed by .weight or .bias
	why      string
}{
	"lora_A":                  {part: partA, trailing: true},
	"lora_B":                  {part: partB, trailing: true},
	"lora_embedding_A":        {part: partEmbeddingA},
	"lora_embedding_B":        {part: partEmbeddingB},
	"lora_magnitude_vector":   {part: partMagnitude},
	"lora_diag":               {part: partRefused, why: "KaSA's diagonal"},
	"lora_velora_embed":       {part: partUnused, why: "VeLoRA's projection, used in training only"},
	"lora_monteclora_sampler": {part: partUnused, why: "MonteCLoRA's sampler, used in training only"},
}

// splitPEFTKey takes the name of a tensor apart. It accepts what save_pretrained
// writes and what raw training states hold: an adapter name after lora_A, and
// wrappers of torch.compile and FSDP.
func splitPEFTKey(name string) peftKey {
	path := strings.Split(strings.TrimPrefix(unwrap(name), peftPrefix), ".")
	for i, c := range path {
		m, ok := markers[c]
		if !ok || i == 0 {
			continue
		}
		k := peftKey{module: strings.Join(path[:i], "."), part: m.part, why: m.why}
		rest := path[i+1:]
		if m.part == partUnused || m.part == partRefused {
			return k
		}
		if n := len(rest); n > 0 && (rest[n-1] == "weight" || rest[n-1] == "bias") {
			if rest[n-1] == "bias" && k.part == partB {
				k.part = partBias
			}
			rest = rest[:n-1]
		} else if m.trailing {
			return peftKey{module: k.module, part: partRefused, why: "a suffix that PEFT's LoRA does not write"}
		}
		k.adapter = strings.Join(rest, ".")
		return k
	}
	return splitOther(path)
}

// splitOther takes apart the names without a LoRA marker.
func splitOther(path []string) peftKey {
	for i, c := range path {
		if i == 0 {
			continue
		}
		rest := strings.Join(path[i+1:], ".")
		switch {
		case c == "token_adapter" && strings.HasPrefix(rest, "trainable_tokens_delta"):
			return peftKey{module: strings.Join(path[:i], "."), part: partTokens,
				adapter: strings.TrimPrefix(strings.TrimPrefix(rest, "trainable_tokens_delta"), ".")}
		case c == "token_adapter":
			return peftKey{module: strings.Join(path, "."), part: partUnused, why: "a copy of rows of the base"}
		case c == "original_module":
			return peftKey{module: strings.Join(path, "."), part: partUnused, why: "a copy of a module of the base"}
		case c == "base_layer" && rest == "weight":
			return peftKey{module: strings.Join(path, "."), part: partUnused, why: "a copy of the base's weight (save_embedding_layers)",
				copyOf: strings.Join(path[:i], ".") + ".weight"}
		case c == "base_layer": // twice for the out_proj of an attention
			return peftKey{module: strings.Join(without(path, "base_layer"), "."), part: partOther}
		case c == "modules_to_save" && i+2 < len(path) && path[i+1] == defaultAdapter:
			return peftKey{module: strings.Join(path[:i], ".") + "." + strings.Join(path[i+2:], "."), part: partOther, adapter: defaultAdapter}
		case c == "modules_to_save" && i+1 < len(path): // save_pretrained with bias="all"
			return peftKey{module: strings.Join(path[:i], ".") + "." + rest, part: partOther}
		}
	}
	return peftKey{module: strings.Join(path, "."), part: partOther}
}

func unwrap(name string) string {
	if !strings.Contains(name, "_orig_mod") && !strings.Contains(name, "_wrapped_module") { // nearly all names
		return name
	}
	path := strings.Split(name, ".")
	return strings.Join(slices.DeleteFunc(path, func(c string) bool { return wrappers[c] }), ".")
}

// without returns the path without the components of a name.
func without(path []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(path), func(c string) bool { return c == name })
}
