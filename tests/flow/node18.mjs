/* SPDX-License-Identifier: Apache-2.0 */
/* Debian's Node 18 has File in a module alone; what @slack/bolt brings along expects it to be global. Imported before that. */
import { File } from "node:buffer";

globalThis.File ??= File;
