#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# No file names a path that exists on one machine only: paths.sh TREE
set -euo pipefail
# shellcheck source=tests/checks/sources.sh
source "$(dirname "${BASH_SOURCE[0]}")/sources.sh"
cd "$1"
if list_files | tr '\n' '\0' | xargs -0 grep -nIE '(^|[^A-Za-z0-9_.}])/(home|root|work|farm|Users|mnt|scratch)/[A-Za-z0-9_.]'; then
  echo "FAILED: the lines above name paths of one machine. Use paths relative to the file or the checkout."
  exit 1
fi
echo "No path of one machine is named."
