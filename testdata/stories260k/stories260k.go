// Package stories260k embeds a small trained model, an adapter that PEFT
// trained on it, and what their merge must give. See README.md.
package stories260k

import (
	"embed"
	"encoding/json"
)

// Files holds base/ and adapter/ as folders that loratool opens.
//
//go:embed base adapter
var Files embed.FS

//go:embed expected.json
var expected []byte

// Expected is what interop/make_stories260k.py found with PEFT and exact
// arithmetic.
type Expected struct {
	MadeBy  map[string]string `json:"made_by"`
	SHA256  map[string]string `json:"sha256"` // of the bytes of each merged tensor
	Changed int               `json:"elements_changed"`
	PEFT    struct {
		Differ  int     `json:"elements_that_differ"`
		Largest float64 `json:"largest_difference"`
	} `json:"peft_merge_and_unload"`
	Text struct {
		Base    string `json:"base"`
		Adapter string `json:"base_and_adapter"`
		Merged  string `json:"merged"`
	} `json:"text"`
}

// Load returns the expectations.
func Load() (Expected, error) {
	var e Expected
	err := json.Unmarshal(expected, &e)
	return e, err
}
