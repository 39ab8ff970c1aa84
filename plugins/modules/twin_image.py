#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: twin_image
short_description: Build the disk image of the emulated twin's hosts
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Builds a Debian disk image from a recipe, once, and keeps it in a cache, from which it removes
    the images of other recipes.
  - Needs root and C(mmdebstrap), C(mke2fs) and C(sfdisk), which the role
    P(mergetb.sriov.twin#role) installs.
  - An interrupted build leaves nothing that counts as an image.
extends_documentation_fragment:
  - mergetb.sriov._attributes
  - mergetb.sriov._attributes.change
attributes:
  diff_mode:
    support: none
    details:
      - The image is made as a whole.
  platform:
    platforms: debian
options:
  recipe:
    description:
      - The directory of the recipe. C(packages) lists the Debian packages of the image, C(root)
        has files of its root file system, and C(customize) is a script that runs in it at the end.
      - C(modules/build) is a script that builds kernel modules and leaves in C(/out) what goes into
        the image. It runs in a root of its own with the packages of C(modules/packages). C(modules)
        may be missing.
      - C(customize) leaves GRUB as a Linux kernel image in C(/usr/lib/mergetb-sriov/grub). It may
        leave a file system in C(/usr/lib/mergetb-sriov/esp), which becomes the EFI system
        partition.
    type: path
    required: true
  cache:
    description: The directory of images. It should have nothing else in it.
    type: path
    required: true
  mirror:
    description:
      - URI of a Debian mirror. It is needed only if the image must be built. Another mirror does
        not make another image.
    type: str
seealso:
  - module: mergetb.sriov.twin
"""

EXAMPLES = r"""
- name: Build the image of the twin's hosts
  mergetb.sriov.twin_image:
    recipe: "{{ role_path }}/files/image"
    cache: ~/.cache/mergetb-sriov
    mirror: http://mirror.example.net/debian
  register: twin_image
"""

RETURN = r"""
image:
  description: The directory of the image. In check mode it may not be built yet.
  returned: success
  type: str
  sample: ~/.cache/mergetb-sriov/5d2c0f4a9e1b7c33
"""

import os
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._module import run_module
from ansible_collections.mergetb.sriov.plugins.module_utils.twin import _image

ARGUMENT_SPEC: dict[str, t.Any] = {
    "recipe": {"type": "path", "required": True},
    "cache": {"type": "path", "required": True},
    "mirror": {"type": "str"},
}


def run(params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    recipe = _image.read_recipe(params["recipe"])
    cache = _image.ImageCache(params["cache"])
    image = cache.path(recipe)
    changed = not os.path.isdir(image)
    if changed and not check_mode:
        cache.build(recipe, params["mirror"])
    return {"changed": changed, "image": image}


def main() -> None:
    run_module(run, ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
