// Sections of an experiment as images of a stage, and what the service knows of their pixels.
import { get, oneAtATime, V1 } from './api.js';

// What a stage shows of a section; why tells in words what is missing.
export function sectionImage(section) {
  const sized = section.width_px > 0 && section.height_px > 0;
  return {
    id: section.id,
    width: sized ? section.width_px : 1000,
    height: sized ? section.height_px : 700,
    um: section.resolution_um || 1,
    tiles: isReadable(section) && sized ? `/dzi/${section.id}.dzi` : null,
    thumbnail: section.has_thumbnail && sized ? `${V1}/sections/${section.id}/thumbnail?size=1024` : null,
    mask: section.has_mask,
  };
}

// A run that failed on a section before it had a reduced image could not read the file.
// Served data sets were never judged by this pipeline: their sections are of no known quality.
export const judged = data => {
  if (!data.is_run) for (const one of data.section_images) if (one.status === 'pass') one.status = 'unknown';
  return data;
};

export const statusText = status => (status === 'unknown' ? 'not assessed' : status);

const isReadable = section => section.has_image && !(section.status === 'fail' && !section.has_thumbnail);

export function missingWords(section) {
  const found = {};
  const instead = section.has_thumbnail ? '; the reduced image of the run is shown' : '';
  if (section.status === 'missing') found.photo = 'there is no image of this section';
  else if (section.status === 'unknown' && !section.has_image) found.photo = 'the folder has no image of this section';
  else if (!section.has_image) found[section.has_thumbnail ? 'note' : 'photo'] = `the image file is gone or has moved${instead}`;
  else if (!isReadable(section)) found.photo = `the image could not be read: ${section.flags.join('; ') || 'see the notes of the run'}`;
  if (!section.has_mask) found.mask = 'this section has no expression mask';
  if (!section.aligned) {
    found.outlines = 'this section has no place in the reference';
    found.error = found.outlines;
  } else if (section.estimated_error_um === null) found.error = 'no error was estimated: the alignment was given, not computed';
  return found;
}

export const structureAt = (section, [x, y]) => get(`/sections/${section.id}/structure_at`, { x, y });

// The value of one pixel of a photo or mask, 0 to 255; null outside the image.
export async function grey(name, width, height, [x, y]) {
  const [column, row] = [Math.round(x), Math.round(y)];
  if (column < 0 || row < 0 || column >= width || row >= height) return null;
  const answer = await fetch(`/iiif/3/${name}/${column},${row},1,1/max/0/gray.png`);
  if (!answer.ok) return null;
  const picture = await createImageBitmap(await answer.blob());
  const context = new OffscreenCanvas(1, 1).getContext('2d');
  context.drawImage(picture, 0, 0);
  return context.getImageData(0, 0, 1, 1).data[0];
}

// Reads what lies under the cursor: the structure at once, intensities once the cursor rests.
export function reader(show) {
  const REST_MS = 80;
  let timer = 0;
  const structure = oneAtATime(
    (section, pixel) => structureAt(section, pixel),
    (found, section, pixel) => show({ section, pixel, ...found }),
    (error, section, pixel) => show({ section, pixel, error: error.message }),
  );
  const values = oneAtATime(
    async (section, pixel) => {
      const of = name => grey(name, section.width_px, section.height_px, pixel).catch(() => null);
      const photo = isReadable(section) ? await of(section.id) : null;
      const mask = section.has_mask ? await of(`${section.id}:mask`) : null;
      return { photo, mask };
    },
    (found, section, pixel) => show({ section, pixel, values: found }),
  );
  return (section, pixel) => {
    clearTimeout(timer);
    if (section.aligned) structure(section, pixel);
    else show({ section, pixel });
    timer = setTimeout(() => values(section, pixel), REST_MS);
  };
}

// A place of one section in another of the same series: through the alignment where both have one.
export async function samePlace(from, to, pixel) {
  if (from && to && from.aligned && to.aligned) {
    try {
      const url = `/api/v2/image_to_image_2d/${from.id}.json?x=${pixel[0]}&y=${pixel[1]}&section_image_ids=${to.id}`;
      const [{ image_sync: found }] = (await (await fetch(url)).json()).msg;
      return [found.x, found.y];
    } catch {
      // falls through: the same share of the frame is close enough to go on
    }
  }
  if (!from || !from.width_px || !to.width_px) return null;
  return [(pixel[0] * to.width_px) / from.width_px, (pixel[1] * to.height_px) / from.height_px];
}
