package checkpoint

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/rule"
)

// A LeftOut file is one that a copy of the checkpoint does not need.
type LeftOut struct {
	Path   string // inside Dir, with slashes
	Reason string
}

// maxFiles bounds how many files of a folder are listed.
const maxFiles = 100_000

// OtherFiles lists the files of the folder that are neither shards nor index,
// such as config and tokenizer, as paths inside Dir with slashes, sorted; and
// those that must not be copied beside changed weights: other forms of the
// same weights, other checkpoints, caches. Links to files are listed, links
// to folders are not followed.
func (c *Checkpoint) OtherFiles() (files []string, left []LeftOut, err error) {
	if c.dir == "" {
		return nil, nil, nil
	}
	own := map[string]bool{}
	for _, s := range c.shards {
		own[s.Name] = true
	}
	if c.index != nil {
		own[c.index.Name] = true
	}
	seen := 0
	err = filepath.WalkDir(c.dir, func(full string, d fs.DirEntry, err error) error {
		if err != nil || full == c.dir {
			return err
		}
		if seen++; seen > maxFiles {
			return &rule.Unsupported{File: c.dir, What: fmt.Sprintf("folder of more than %d files", maxFiles)}
		}
		rel, err := filepath.Rel(c.dir, full)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		if d.IsDir() {
			if why := foreignFolder(name); why != "" {
				left = append(left, LeftOut{name + "/", why})
				return fs.SkipDir
			}
			return nil
		}
		if own[name] {
			return nil
		}
		if why := c.notCopied(full, name); why != "" {
			left = append(left, LeftOut{name, why})
		} else {
			files = append(files, name)
		}
		return nil
	})
	return files, left, err
}

// foreignFolder says why a folder is left out, or "".
func foreignFolder(name string) string {
	base := path.Base(name)
	switch {
	case strings.HasPrefix(base, "."):
		return "hidden"
	case slices.Contains([]string{"original", "onnx", "openvino", "coreml", "tflite", "gguf", "metal"}, strings.ToLower(base)):
		return "other form of the weights"
	case strings.HasPrefix(base, "checkpoint-"), strings.HasPrefix(base, "global_step"), base == "runs":
		return "left by training"
	case base == "__pycache__":
		return "cache"
	}
	return ""
}

// weightSuffixes are the ends of names under which the same weights, or the
// state of a training run, are kept beside safetensors files.
var weightSuffixes = []string{".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".gguf", ".ggml", ".onnx",
	".onnx_data", ".tflite", ".npz", ".ot", ".mlmodel", ".mlpackage", ".nemo", ".params"}

// notCopied says why a file is left out, or "".
func (c *Checkpoint) notCopied(full, name string) string {
	info, err := os.Stat(full)
	inRoot := !strings.Contains(name, "/")
	low := strings.ToLower(name)
	switch {
	case err != nil:
		return "broken link"
	case info.IsDir():
		return "link to a folder"
	case !info.Mode().IsRegular():
		return "not a regular file"
	case strings.HasPrefix(path.Base(name), "."):
		return "hidden"
	case inRoot && (isAdapterFile(name) || low == "adapter_config.json"): // transformers would load the adapter on its own base
		return "adapter"
	case inRoot && (strings.HasSuffix(low, shardSuffix) || strings.HasSuffix(low, indexSuffix)):
		return "not part of this checkpoint"
	case inRoot && strings.HasSuffix(low, ".bin.index.json"), strings.HasSuffix(low, ".h5.index.json"), strings.HasSuffix(low, ".msgpack.index.json"):
		return "index of another form of the weights"
	}
	for _, s := range weightSuffixes {
		if inRoot && strings.HasSuffix(low, s) {
			return "other form of the weights, or left by training"
		}
	}
	return ""
}
