package checkpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// singleNames are the files that libraries look for in a folder, the best
// known first. The index of each has ".index.json" behind it.
var singleNames = []string{"model.safetensors", "diffusion_pytorch_model.safetensors", "pytorch_model.safetensors", "consolidated.safetensors"}

// openFolder opens what a folder holds: an index, else the single file of a
// known name, else a numbered set, else the only file, else all files.
func (c *Checkpoint) openFolder() error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	var indexes []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), indexSuffix) {
			indexes = append(indexes, e.Name())
		}
	}
	if len(indexes) > 0 {
		name, err := chooseIndex(c.dir, indexes)
		if err != nil {
			return err
		}
		return c.openIndex(name)
	}
	files, err := weightFiles(c.dir)
	if err != nil {
		return err
	}
	chosen, err := chooseFiles(c.dir, files)
	if err != nil {
		return err
	}
	for _, f := range chosen {
		if err := c.add(f, filepath.Join(c.dir, f)); err != nil {
			return err
		}
	}
	c.checkNumbers(c.dir, chosen)
	for _, f := range files {
		if !slices.Contains(chosen, f) && !isAdapterFile(f) {
			c.warn("SH018", filepath.Join(c.dir, f), "not part of %s", chosen[0])
		}
	}
	return nil
}

// chooseIndex takes the only index, or the best known one.
func chooseIndex(dir string, indexes []string) (string, error) {
	if len(indexes) == 1 {
		return indexes[0], nil
	}
	for _, n := range singleNames {
		if slices.Contains(indexes, n+".index.json") {
			return n + ".index.json", nil
		}
	}
	return "", fmt.Errorf("%s: holds several checkpoints, name one of %s", dir, strings.Join(indexes, ", "))
}

// SingleName returns the file among those of a folder that libraries take for
// the whole model.
func SingleName(files []string) (string, bool) {
	i := slices.IndexFunc(singleNames, func(n string) bool { return slices.Contains(files, n) })
	if i < 0 {
		return "", false
	}
	return singleNames[i], true
}

// chooseFiles says which files of a folder without index make the checkpoint.
func chooseFiles(dir string, files []string) ([]string, error) {
	if n, ok := SingleName(files); ok {
		return []string{n}, nil
	}
	var weights, parts []string
	stems := map[string]bool{}
	for _, f := range files {
		if isAdapterFile(f) {
			continue
		}
		weights = append(weights, f)
		if stem, _, _, ok := numbered(f); ok {
			parts = append(parts, f)
			stems[stem] = true
		}
	}
	switch {
	case len(weights) == 0 && len(files) > 0:
		return nil, fmt.Errorf("%s: holds an adapter, expected a base", dir)
	case len(weights) == 0:
		return nil, noWeights(dir)
	case len(stems) == 1:
		return parts, nil
	}
	return weights, nil
}

// noWeights says what is there instead of safetensors files.
func noWeights(dir string) error {
	for _, pattern := range []string{"*.bin", "*.pt", "*.pth", "*.gguf"} {
		if m, _ := filepath.Glob(filepath.Join(globEscape(dir), pattern)); len(m) > 0 {
			return fmt.Errorf("%s: no safetensors file, only %s and the like: convert it first", dir, filepath.Base(m[0]))
		}
	}
	return fmt.Errorf("%s: no safetensors file: expected model.safetensors, or shards with an index", dir)
}

func globEscape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}

// weightFiles returns the names of the safetensors files of a folder, sorted.
func weightFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), shardSuffix) && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// isAdapterFile knows the names that adapters are saved under.
func isAdapterFile(name string) bool {
	return strings.HasPrefix(name, "adapter_model") || name == "adapters.safetensors" || name == "pytorch_lora_weights.safetensors"
}

// NumberedSets groups the names of a folder's files that are numbered parts of
// one checkpoint, such as model-00001-of-00002.safetensors, and returns the
// others.
func NumberedSets(files []string) (sets [][]string, others []string) {
	at := map[string]int{}
	for _, f := range files {
		stem, _, _, ok := numbered(f)
		if !ok {
			others = append(others, f)
			continue
		}
		i, known := at[stem]
		if !known {
			i = len(sets)
			at[stem] = i
			sets = append(sets, nil)
		}
		sets[i] = append(sets[i], f)
	}
	return sets, others
}

// OpenFiles opens files of a folder as one checkpoint without an index.
func OpenFiles(dir string, files []string, o Options) (*Checkpoint, error) {
	c := newCheckpoint(o)
	c.dir = dir
	for _, f := range files {
		if err := c.add(f, filepath.Join(dir, f)); err != nil {
			c.Close()
			return nil, err
		}
	}
	c.checkNumbers(dir, files)
	if err := c.finish(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}
