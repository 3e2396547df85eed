# What `corpus.py serve` serves: files, and a git repository with a branch and a tag.
git config --global user.name t
git config --global user.email t@example.org
git config --global init.defaultBranch main
git init -q work
(
  cd work
  mkdir -p sub/deep
  echo one > file
  echo deep > sub/deep/x
  printf '#!/bin/sh\n' > run
  chmod 755 run
  ln -s file link
  git add .
  git commit -qm one
  git tag -a v1 -m v1
  git branch old
  echo two > file
  git commit -qam two
)
git clone -q --bare work work.git
git -C work.git config uploadpack.allowAnySHA1InWant true
rm -rf work
cd files
printf 'served\n' > plain.txt
mkdir tree
printf 'a\n' > tree/a
printf '#!/bin/sh\n' > tree/run
chmod 755 tree/run
tar --create --format=ustar --sort=name --owner=3 --group=4 --numeric-owner --mtime=@1600000000 tree | gzip -n > tree.tar.gz
rm -r tree
