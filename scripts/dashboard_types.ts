// Grafana's types of a dashboard, with the values of its enums in place of their names, as JSON has them.
import type { Dashboard, Panel, RowPanel } from '@grafana/schema/dist/esm/raw/dashboard/x/dashboard_types.gen';
import type * as bargauge from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type * as heatmap from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as statetimeline from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type * as table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as timeseries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

export type Plain<T> = T extends string
  ? `${T}`
  : T extends number | boolean | null | undefined
    ? T
    : T extends (infer U)[]
      ? Plain<U>[]
      : T extends object
        ? { [K in keyof T]: Plain<T[K]> }
        : T;

// The base step of thresholds is null in JSON: minus infinity has no other form there.
type Threshold = { value: number | null; color: string };
type Thresholds = { mode: 'absolute' | 'percentage'; steps: Threshold[] };
type Defaults = Omit<Plain<NonNullable<Panel['fieldConfig']>['defaults']>, 'thresholds' | 'custom' | 'mappings'> & {
  thresholds?: Thresholds;
  mappings?: unknown[];
};
type Prometheus = {
  refId: string;
  datasource: { type: 'prometheus'; uid: string };
  expr: string;
  legendFormat: string;
  format: 'time_series' | 'table' | 'heatmap';
  editorMode: 'code' | 'builder';
  instant: boolean;
  range: boolean;
};
type Of<Name extends string, Options, Custom> = Omit<Plain<Panel>, 'type' | 'options' | 'fieldConfig' | 'targets'> & {
  type: Name;
  targets: Prometheus[];
  options: Partial<Plain<Options>>;
  fieldConfig: { defaults: Defaults & { custom?: Partial<Plain<Custom>> }; overrides: Plain<NonNullable<Panel['fieldConfig']>['overrides']> };
};
export type AnyPanel =
  | Of<'timeseries', timeseries.Options, timeseries.FieldConfig>
  | Of<'stat', stat.Options, Record<string, never>>
  | Of<'bargauge', bargauge.Options, Record<string, never>>
  | Of<'heatmap', heatmap.Options, heatmap.FieldConfig>
  | Of<'state-timeline', statetimeline.Options, statetimeline.FieldConfig>
  | Of<'table', table.Options, table.FieldConfig>;
type Row = Omit<Plain<RowPanel>, 'panels'> & { panels: AnyPanel[] };

// The data source adds these to what the types know of an annotation.
type Annotation = Plain<NonNullable<NonNullable<Dashboard['annotations']>['list']>[number]> & {
  expr: string;
  titleFormat: string;
  textFormat: string;
  tagKeys: string;
  step: string;
  useValueForTime: boolean;
};
export type Written = Omit<Plain<Dashboard>, 'panels' | 'annotations'> & {
  panels: (AnyPanel | Row)[];
  annotations: { list: Annotation[] };
};
