module github.com/loratool/loratool

go 1.26
