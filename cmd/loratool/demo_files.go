package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/safetensors"
)

// renameLayers writes a copy of an adapter whose last layer has a number that
// the base does not have.
func renameLayers(from, to string) error {
	f, err := safetensors.Open(filepath.Join(from, dialect.WeightsName))
	if err != nil {
		return err
	}
	defer f.Close()
	var tensors []safetensors.NamedData
	for _, t := range f.Header().Tensors() {
		tensors = append(tensors, safetensors.NamedData{Name: strings.Replace(t.Name, ".layers.4.", ".layers.40.", 1), DType: t.DType, Shape: t.Shape, Data: f.Bytes(t)})
	}
	if err := os.Mkdir(to, 0o777); err != nil {
		return err
	}
	config, err := os.ReadFile(filepath.Join(from, dialect.ConfigName))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(to, dialect.ConfigName), config, 0o666); err != nil {
		return err
	}
	w, err := os.Create(filepath.Join(to, dialect.WeightsName))
	if err != nil {
		return err
	}
	defer w.Close()
	return safetensors.Write(w, tensors, nil)
}

// shorten takes the demo's folder out of a message.
func shorten(message, dir string) string {
	return strings.ReplaceAll(message, dir+string(filepath.Separator), "")
}
