// What a pane of the synchronised view shows: an experiment or a plane of the atlas, both answering the same
// questions: where is a point of the reference on you, and which point is at a pixel of yours.
import { signal } from './html.js';
import { address, get, V1 } from './api.js';
import { loadOutlines, plateOutlines, sectionOutlines } from './outlines.js';
import { otherSide } from './space.js';
import { judged, missingWords, sectionImage } from './sections.js';

export const SPACE = 9; // all panes speak of this space
const NORMALS = { coronal: [0, 1, 2], sagittal: [2, 1, 0], horizontal: [1, 0, 2] }; // normal, down, right

class Pane {
  constructor(key) {
    this.key = key;
    this.stage = null;
    this.title = signal(key);
    this.about = signal('');
    this.place = signal(null);
    this.note = signal(null);
    this.shown = null;
  }

  // Shows the image of a place and puts the place at the middle.
  async show(place, view) {
    this.place.value = place;
    this.note.value = place.message ?? null;
    if (place.message) return;
    const { image, key, outlines } = this.imageOf(place);
    const target = { centre: [place.x, place.y], ...view };
    if (this.shown === key) {
      if (!this.loading) this.stage.goTo(target, true); // else the newest place is taken up at the end
      return;
    }
    this.shown = key;
    this.loading = true;
    this.stage.errorUm = place.estimated_error_um;
    const done = await this.stage.show(image, target);
    if (!done || this.shown !== key) return;
    this.loading = false;
    const newest = this.place.value; // the leader may have moved on meanwhile
    if (newest && !newest.message && newest !== place && this.imageOf(newest).key === key && this.newestView) {
      this.stage.goTo({ centre: [newest.x, newest.y], ...this.newestView(newest) }, true);
    }
    if (outlines) {
      loadOutlines(outlines).then(
        found => this.shown === key && this.stage.setOutlines(found),
        error => this.shown === key && (this.note.value = `Outlines: ${error.message}`),
      );
    }
    this.changed?.();
  }
}

export class ExperimentPane extends Pane {
  constructor(id) {
    super(String(id));
    this.id = id;
    this.asked = get(`/experiments/${id}`).then(
      data => {
        this.data = judged(data);
        this.byId = new Map(data.section_images.map(one => [one.id, one]));
        this.title.value = data.gene ?? String(id);
        this.about.value = `${id} · ${data.plane_of_section}`;
        return data;
      },
      error => {
        this.note.value = error.message;
        return null;
      },
    );
  }

  get section() {
    return this.byId?.get(this.place.value?.section_image_id) ?? null;
  }

  imageOf(place) {
    const section = this.byId.get(place.section_image_id);
    const words = missingWords(section);
    this.note.value = words.photo ?? words.note ?? null;
    return { key: section.id, image: sectionImage(section), outlines: sectionOutlines(section) };
  }

  // The place of a pixel of the shown section, and the same place in other experiments.
  async lead([x, y], experiments) {
    return get(`/sections/${this.place.value.section_image_id}/places`, {
      x, y, experiments: experiments.join(','), reference_space_id: SPACE,
    });
  }

  // The next section with a place, and the pixel there that shows the same place.
  async step(by) {
    const aligned = this.data.section_images.filter(one => one.aligned);
    const at = aligned.indexOf(this.section);
    const next = aligned[Math.max(0, Math.min(aligned.length - 1, at + by))];
    if (!next || next === this.section) return null;
    const view = this.stage.view(false);
    const url = `/api/v2/image_to_image_2d/${this.section.id}.json?x=${view.centre[0]}&y=${view.centre[1]}&section_image_ids=${next.id}`;
    const [{ image_sync: found }] = (await (await fetch(url)).json()).msg;
    const { place } = await get(`/sections/${next.id}/places`, { x: found.x, y: found.y, reference_space_id: SPACE });
    return place;
  }

  async structureAt([x, y]) {
    const { section } = this;
    if (!section?.aligned) return null;
    const found = await get(`/sections/${section.id}/structure_at`, { x, y });
    let point = found.point_um;
    if (this.data.reference_space_id !== SPACE) point = otherSide(point);
    if (this.place.value.mirrored) point = otherSide(point);
    return { ...found, point_um: point };
  }
}

export class AtlasPane extends Pane {
  constructor(plane) {
    super(`atlas:${plane}`);
    this.plane = plane;
    this.title.value = 'Atlas';
    this.about.value = plane;
    this.asked = get(`/plates/${plane}`).then(
      plates => (this.plates = plates),
      error => {
        this.note.value = error.message;
        return null;
      },
    );
  }

  // Where a point of the reference lies on the nearest plane.
  placeOf(point) {
    const { planes, spacing_um: um, zoom } = this.plates;
    const [normal, down, right] = NORMALS[this.plane];
    const number = Math.max(0, Math.min(planes - 1, Math.round(point[normal] / um)));
    const [y, x] = [down, right].map(axis => (point[axis] / um + 0.5) * zoom - 0.5);
    const there = [...point];
    there[normal] = number * um;
    const axes = [right, down].map(axis => [0, 1, 2].map(n => (n === axis ? um / zoom : 0)));
    return {
      experiment_id: this.key, section_number: number, section_image_id: null, x, y, point_um: there, axes_um: axes,
      estimated_error_um: null, mirrored: false, message: null,
    };
  }

  pointOf([x, y]) {
    const { spacing_um: um, zoom } = this.plates;
    const [normal, down, right] = NORMALS[this.plane];
    const point = [0, 0, 0];
    point[normal] = this.place.value.section_number * um;
    point[down] = ((y + 0.5) / zoom - 0.5) * um;
    point[right] = ((x + 0.5) / zoom - 0.5) * um;
    return point;
  }

  imageOf(place) {
    const { spacing_um: um, zoom, width_px: width, height_px: height } = this.plates;
    const at_um = place.section_number * um;
    const url = address(`${V1}/plates/${this.plane}/picture`, { at_um, downsample: Math.max(0, Math.log2(zoom) - 2) });
    return {
      key: `${this.plane} ${at_um}`,
      image: { id: this.key, width, height, um: um / zoom, tiles: { type: 'image', url, buildPyramid: false }, mask: false },
      outlines: plateOutlines(this.plane, at_um),
    };
  }

  async lead(pixel, experiments) {
    const point = this.pointOf(pixel);
    const [p, i, r] = point;
    const places = await get('/places', { p, i, r, experiments: experiments.join(','), reference_space_id: SPACE });
    return { place: this.placeOf(point), places };
  }

  async step(by) {
    const [normal] = NORMALS[this.plane];
    const point = this.pointOf(this.stage.view(false).centre);
    point[normal] += by * Math.max(this.plates.spacing_um, 100);
    return this.placeOf(point);
  }

  async structureAt(pixel) {
    const point = this.pointOf(pixel);
    const [p, i, r] = point;
    return get('/structure_at', { p, i, r });
  }
}
