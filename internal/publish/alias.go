package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Alias returns an error if writing the output would touch an input: if it is
// an input or a file of an input folder by any path, hard link or symbolic
// link, if it lies inside an input folder, or if an input lies inside it.
// Inputs are files or folders that exist; the output need not exist.
func Alias(output string, inputs ...string) error {
	out, err := locate(output)
	if err != nil {
		return err
	}
	for _, input := range inputs {
		if err := aliasOne(out, input); err != nil {
			return err
		}
	}
	return nil
}

// A place is a path that may not exist yet.
type place struct {
	path     string      // as given
	resolved string      // absolute, without links as far as it exists
	info     fs.FileInfo // nil if nothing is there
}

// locate resolves the part of a path that exists.
func locate(path string) (place, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return place{}, err
	}
	resolved, err := filepath.EvalSymlinks(abs)
	if err == nil {
		info, err := os.Stat(resolved)
		return place{path, resolved, info}, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return place{}, fmt.Errorf("output %q: %w", path, err)
	}
	if _, err := os.Lstat(abs); err == nil {
		return place{}, fmt.Errorf("output %q: is a broken symbolic link", path)
	}
	parent := filepath.Dir(abs)
	if parent == abs {
		return place{}, err
	}
	up, err := locate(parent)
	return place{path, filepath.Join(up.resolved, filepath.Base(abs)), nil}, err
}

// aliasOne compares an output with one input.
func aliasOne(out place, input string) error {
	abs, err := filepath.Abs(input)
	if err != nil {
		return err
	}
	info, err := os.Stat(abs)
	if err != nil {
		return err
	}
	if err := aliasFile(out, input, abs, info); err != nil {
		return err
	}
	if !info.IsDir() {
		return nil
	}
	if within(filepath.Dir(out.resolved), info) {
		return fmt.Errorf("output %q: lies inside the input %q", out.path, input)
	}
	return aliasFolder(out, input, abs)
}

// aliasFile refuses an output that is the input or holds it.
func aliasFile(out place, input, abs string, info fs.FileInfo) error {
	if out.info == nil {
		return nil
	}
	if os.SameFile(out.info, info) {
		return fmt.Errorf("output %q: is the input %q", out.path, input)
	}
	resolved, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return err
	}
	if out.info.IsDir() && (within(abs, out.info) || within(resolved, out.info)) {
		return fmt.Errorf("output %q: holds the input %q", out.path, input)
	}
	return nil
}

// aliasFolder compares an output with the entries of an input folder, which
// may be links to files elsewhere, as in the Hugging Face cache.
func aliasFolder(out place, input, abs string) error {
	if out.info == nil {
		return nil
	}
	entries, err := os.ReadDir(abs)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		child := filepath.Join(abs, entry.Name())
		info, err := os.Stat(child)
		if err != nil {
			continue // a broken link is no file that the output could touch
		}
		if err := aliasFile(out, filepath.Join(input, entry.Name()), child, info); err != nil {
			return err
		}
	}
	return nil
}

// within reports whether an absolute path is the folder or lies below it,
// comparing folders by identity and not by name.
func within(path string, dir fs.FileInfo) bool {
	for {
		if info, err := os.Stat(path); err == nil && os.SameFile(info, dir) {
			return true
		}
		parent := filepath.Dir(path)
		if parent == path {
			return false
		}
		path = parent
	}
}
