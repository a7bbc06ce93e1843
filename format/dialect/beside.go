package dialect

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/note"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/publish"
)

// maxBeside bounds the files that are copied along: no config or tokenizer is
// this big, but a checkpoint beside the adapter is.
const maxBeside = 256 << 20

// CopyBeside copies the regular files of an adapter's folder into d: tokenizer,
// card, and the config, except those named. Folders in it, such as those of a
// training's steps, are not copied, nor are other weights and pickles: a base
// beside the adapter, an optimizer's state.
func CopyBeside(ctx context.Context, d *publish.Dir, folder string, except ...string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		info, err := os.Stat(filepath.Join(folder, name))
		if slices.Contains(except, name) || isWeights(name) || err != nil || !info.Mode().IsRegular() {
			continue
		}
		if info.Size() > maxBeside {
			return &rule.Unsupported{File: folder, What: fmt.Sprintf("file %q of %d bytes beside an adapter", name, info.Size()), Hint: "move it elsewhere first"}
		}
		if _, err := publish.CopyFileContext(ctx, d.Path(name), filepath.Join(folder, name), nil); err != nil {
			return err
		}
	}
	return nil
}

// isWeights knows files of weights and of a training's state by their names.
func isWeights(name string) bool {
	return slices.Contains([]string{".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".npz"}, strings.ToLower(filepath.Ext(name))) ||
		strings.HasSuffix(name, ".safetensors.index.json")
}

// kept are the entries of a header that a program which rewrites the adapter
// keeps, known or not: all but those that describe the factors.
func kept(f *File) map[string]string {
	entries := map[string]string{}
	for _, p := range f.Weights.Header().Metadata() {
		if p.Key != note.KeyTensors && p.Key != note.KeyModules {
			entries[p.Key] = p.Value
		}
	}
	return entries
}
